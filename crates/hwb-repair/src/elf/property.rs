//! Notes that a linker leaves about the whole file (Linux Extensions to gABI, ".note.gnu.property").

use super::reader::{Reader, Segment};
use super::{Isa, X86_64};

const PT_NOTE: u32 = 4;
const PT_GNU_PROPERTY: u32 = 0x6474_e553;
const NT_GNU_PROPERTY_TYPE_0: u32 = 5;
const X86_ISA_1_NEEDED: u32 = 0xc000_8002;

/// The level of x86-64 that the file says it needs. A note that cannot be read says nothing.
pub(super) fn isa(reader: &Reader<'_>, segments: &[Segment]) -> Isa {
    // On other machines the same number means something else.
    if reader.head.machine != X86_64 {
        return Isa::Baseline;
    }
    let notes = segments.iter().filter(|segment| matches!(segment.kind, PT_NOTE | PT_GNU_PROPERTY));
    notes.filter_map(|segment| segment_isa(reader, segment)).max().unwrap_or(Isa::Baseline)
}

fn segment_isa(reader: &Reader<'_>, segment: &Segment) -> Option<Isa> {
    let align = |value: u64, to: u64| value.checked_next_multiple_of(to);
    let alignment = if segment.alignment == 8 { 8 } else { 4 };
    let end = segment.offset.checked_add(segment.file_size)?;
    let (mut at, mut found) = (segment.offset, None);
    // Twelve bytes of head each.
    while at.checked_add(12).is_some_and(|head| head <= end) {
        let (name, size) = (u64::from(reader.quad(at)?), u64::from(reader.quad(at + 4)?));
        let kind = reader.quad(at + 8)?;
        let start = at.checked_add(12)?.checked_add(align(name, 4)?)?;
        let next = align(start.checked_add(size)?, alignment)?;
        if kind == NT_GNU_PROPERTY_TYPE_0 && reader.bytes(at + 12, name)? == b"GNU\0" {
            found = found.max(properties(reader, start, start.checked_add(size)?.min(end)));
        }
        at = next;
    }
    found
}

fn properties(reader: &Reader<'_>, start: u64, end: u64) -> Option<Isa> {
    let mut at = start;
    while at.checked_add(8)? <= end {
        let (kind, size) = (reader.quad(at)?, u64::from(reader.quad(at + 4)?));
        if kind == X86_ISA_1_NEEDED && size == 4 {
            let level = match reader.quad(at + 8)? {
                bits if bits & 8 != 0 => Isa::V4,
                bits if bits & 4 != 0 => Isa::V3,
                bits if bits & 2 != 0 => Isa::V2,
                _ => Isa::Baseline,
            };
            return Some(level);
        }
        at = (at + 8).checked_add(size)?.checked_next_multiple_of(reader.word_size())?;
    }
    None
}
