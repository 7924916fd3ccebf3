//! A document of an image that can be read is written, and then reads and writes the same.
#![no_main]

use hwb_oci::{Document, ImageConfig};
use libfuzzer_sys::fuzz_target;

fn to_bytes(document: &Document) -> Vec<u8> {
    match document {
        Document::Index(index) => index.to_bytes(),
        Document::Manifest(manifest) => manifest.to_bytes(),
    }
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(document) = Document::parse(bytes, None) {
        let written = to_bytes(&document);
        let again = Document::parse(&written, None).expect("what was written can be read");
        assert_eq!(to_bytes(&again), written);
    }
    if let Ok(config) = ImageConfig::parse(bytes) {
        let written = config.to_bytes();
        let again = ImageConfig::parse(&written).expect("what was written can be read");
        assert_eq!(again.to_bytes(), written);
        // Whatever it says, it says it without a panic.
        drop(config.platform());
        if let Ok(Document::Manifest(manifest)) = Document::parse(bytes, None) {
            drop(manifest.check_config(&config));
        }
    }
});
