//! ELF files that are nothing but sections.

/// An ELF file for x86-64 with these sections and one for their names. `.text` is code, and every address is the place in
/// the file.
pub fn elf_of_sections(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut names = vec![0];
    let mut contents: Vec<(usize, Vec<u8>)> = vec![(0, Vec::new())];
    for (name, bytes) in sections {
        contents.push((names.len(), bytes.to_vec()));
        names.extend_from_slice(name.as_bytes());
        names.push(0);
    }
    let own = names.len();
    names.extend_from_slice(b".shstrtab\0");
    contents.push((own, names.clone()));
    let (mut body, mut headers) = (Vec::new(), Vec::new());
    for (name, bytes) in &contents {
        let mut header = vec![0; 64];
        header[..4].copy_from_slice(&u32::try_from(*name).expect("names are short").to_le_bytes());
        header[4] = 1;
        let is_code = names[*name..].starts_with(b".text\0");
        header[8] = if is_code { 6 } else { 0 };
        header[16..24].copy_from_slice(&(64 + body.len() as u64).to_le_bytes());
        header[24..32].copy_from_slice(&(64 + body.len() as u64).to_le_bytes());
        header[32..40].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        headers.extend(header);
        body.extend_from_slice(bytes);
    }
    let count = u16::try_from(contents.len()).expect("sections are few");
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
    file.resize(64, 0);
    file[16] = 3;
    file[18] = 62;
    file[40..48].copy_from_slice(&(64 + body.len() as u64).to_le_bytes());
    file[58] = 64;
    file[60..62].copy_from_slice(&count.to_le_bytes());
    file[62..64].copy_from_slice(&(count - 1).to_le_bytes());
    file.extend(body);
    file.extend(headers);
    file
}
