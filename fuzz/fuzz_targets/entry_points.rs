//! Whatever `entry_points.txt` says, no script of it lands outside the folder of scripts.
#![no_main]

use hwb_wheel::EntryPoints;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(entry_points) = EntryPoints::parse(bytes) else {
        return;
    };
    for group in ["console_scripts", "gui_scripts"] {
        for name in entry_points.groups.get(group).into_iter().flat_map(|names| names.keys()) {
            assert!(
                !name.contains(['/', '\\', '\0']) && !matches!(name.as_str(), "" | "." | ".."),
                "{name:?}"
            );
        }
    }
});
