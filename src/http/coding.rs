//! The content coding of a request's body (RFC 9110 8.4): gzip or none.

use super::body::BadBody;
use flate2::read::MultiGzDecoder;
use hyper::HeaderMap;
use hyper::header::CONTENT_ENCODING;
use std::io::Read;

/// How a body is coded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Coding {
    Plain,
    Gzip,
}

impl Coding {
    /// Reads the coding from a request's headers.
    ///
    /// # Errors
    ///
    /// If it is another one, or several.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, BadBody> {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let is_gzip = |value: &[u8]| {
            let names: [&[u8]; 2] = [b"gzip", b"x-gzip"]; // equal by RFC 9110 8.4.1.3
            names
                .iter()
                .any(|name| value.trim_ascii().eq_ignore_ascii_case(name))
        };
        match (values.next(), values.next()) {
            (None, _) => Ok(Self::Plain),
            (Some(value), None) if is_gzip(value.as_bytes()) => Ok(Self::Gzip),
            (Some(_), _) => Err(BadBody::Coding),
        }
    }
}

/// Decodes a whole body of at most `bytes_max` bytes.
///
/// # Errors
///
/// If it is not gzip, or would be longer.
pub(super) fn gunzip(body: &[u8], bytes_max: usize) -> Result<Vec<u8>, BadBody> {
    let mut plain = Vec::new();
    let most = bytes_max as u64 + 1;
    let read = MultiGzDecoder::new(body).take(most).read_to_end(&mut plain);
    if plain.len() > bytes_max {
        return Err(BadBody::TooLarge);
    }
    match read {
        Ok(_) => Ok(plain),
        Err(_) => Err(BadBody::NotGzip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(plain).expect("into memory");
        encoder.finish().expect("into memory")
    }

    #[test]
    fn a_body_is_bounded_by_what_it_becomes() {
        let coded = gzip(&vec![b'a'; 1_000_000]);
        assert!(coded.len() < 2_000);
        assert_eq!(gunzip(&coded, 1_000_000).map(|it| it.len()), Ok(1_000_000));
        assert_eq!(gunzip(&coded, 999_999), Err(BadBody::TooLarge));
        let two = [gzip(b"ab"), gzip(b"cd")].concat();
        assert_eq!(gunzip(&two, 4), Ok(b"abcd".to_vec()));
    }

    #[test]
    fn what_is_not_whole_gzip_is_none() {
        let coded = gzip(b"abc");
        for body in [
            &b""[..],
            b"abc",
            &coded[..coded.len() - 1],
            &[&coded[..], b"x"].concat(),
        ] {
            assert_eq!(gunzip(body, 100), Err(BadBody::NotGzip), "{body:?}");
        }
    }

    #[test]
    fn gzip_is_the_one_coding() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, value.parse().expect("a value"));
            }
            Coding::of(&headers)
        };
        assert_eq!(of(&[]), Ok(Coding::Plain));
        for gzip in ["gzip", "GZIP", "x-gzip"] {
            assert_eq!(of(&[gzip]), Ok(Coding::Gzip));
        }
        for other in [
            &["br"][..],
            &["identity"],
            &[""],
            &["gzip, gzip"],
            &["gzip", "gzip"],
        ] {
            assert_eq!(of(other), Err(BadBody::Coding), "{other:?}");
        }
    }
}
