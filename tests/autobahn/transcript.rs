//! The parser of the suite's transcripts. README.md beside this file has the grammar.
//!
//! It panics at text that `scripts/autobahn-record.py` does not write.

use std::fs::{self, File};
use std::io::{BufReader, Read as _};
use std::path::Path;

/// A case of the suite: its lines after the first, in order.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) lines: Vec<String>,
}

/// Reads all transcripts. Panics if one is invalid.
pub(crate) fn recorded_cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/autobahn");
    let mut cases = Vec::new();
    for entry in fs::read_dir(&folder).expect("the transcripts are in the repository") {
        let path = entry.expect("a readable folder").path();
        let file = File::open(&path).expect("a readable file");
        let mut text = String::new();
        let read = match path.extension().and_then(|extension| extension.to_str()) {
            Some("txt") => BufReader::new(file).read_to_string(&mut text),
            Some("gz") => flate2::read::GzDecoder::new(file).read_to_string(&mut text),
            _ => continue,
        };
        read.expect("a transcript is ASCII");
        parse_cases(&text, &mut cases);
    }
    cases
}

pub(crate) fn parse_cases(text: &str, cases: &mut Vec<Case>) {
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("case ") {
            cases.push(Case {
                name: name.to_owned(),
                lines: Vec::new(),
            });
        } else {
            let case = cases.last_mut().expect("a transcript opens with a case");
            case.lines.push(line.to_owned());
        }
    }
}

/// Appends the frames of a line (first octet, masks, payload), one per mask.
pub(crate) fn put_frames(out: &mut Vec<u8>, line: &str) {
    let mut fields = line.split(' ');
    let mut field = || octets(fields.next().expect("three fields"));
    let (first, masks, payload) = (field(), field(), field());
    let [first] = first[..] else {
        panic!("the first octet of a frame: {line}")
    };

    let (masks, incomplete) = masks.as_chunks::<4>();
    assert!(
        incomplete.is_empty() && !masks.is_empty(),
        "masks have four octets"
    );
    for mask in masks {
        out.push(first);
        let length = payload.len();
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short @ ..126), _) => out.push(0x80 | short),
            (_, Ok(medium)) => {
                out.push(0x80 | 0x7e);
                out.extend_from_slice(&medium.to_be_bytes());
            }
            _ => {
                out.push(0x80 | 0x7f);
                let long = u64::try_from(length).expect("a length fits 64 bits");
                out.extend_from_slice(&long.to_be_bytes());
            }
        }
        out.extend_from_slice(mask);
        put_masked(out, &payload, *mask);
    }
}

/// Appends the masked payload (RFC 6455, section 5.3).
fn put_masked(out: &mut Vec<u8>, payload: &[u8], mask: [u8; 4]) {
    // 16 octets per step: the test masks 160 MB in a build without optimization.
    let wide_mask = u128::from_be_bytes([mask; 4].as_flattened().try_into().expect("4 times 4"));
    let (wide, rest) = payload.as_chunks();
    for octets in wide {
        out.extend_from_slice(&(u128::from_be_bytes(*octets) ^ wide_mask).to_be_bytes());
    }
    out.extend(
        rest.iter()
            .zip(mask.iter().cycle())
            .map(|(octet, key)| octet ^ key),
    );
}

/// Parses octets: `-` for none, hexadecimal, or a unit and the length to repeat it to.
pub(crate) fn octets(text: &str) -> Vec<u8> {
    if text == "-" {
        return Vec::new();
    }
    let (digits, length) = match text.split_once('*') {
        Some((unit, length)) => (unit, Some(length.parse::<usize>().expect("a length"))),
        None => (text, None),
    };
    let (pairs, incomplete) = digits.as_bytes().as_chunks::<2>();
    assert!(
        incomplete.is_empty() && !pairs.is_empty(),
        "octets have two digits: {digits}"
    );
    let digit = |digit: u8| char::from(digit).to_digit(16).expect("a hexadecimal digit");
    let octet = |[high, low]: &[u8; 2]| {
        u8::try_from(digit(*high) << 4 | digit(*low)).expect("two digits make an octet")
    };
    let mut octets: Vec<u8> = pairs.iter().map(octet).collect();
    if let Some(length) = length {
        octets = octets.repeat(length.div_ceil(octets.len()));
        octets.truncate(length);
    }
    octets
}
