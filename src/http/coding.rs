//! Content codings of request bodies (RFC 9110 8.4): gzip or none.

use super::body::BodyError;
use flate2::read::MultiGzDecoder;
use hyper::HeaderMap;
use hyper::header::CONTENT_ENCODING;
use std::future::poll_fn;
use std::io::Read;
use std::task::Poll;

/// The content coding of a body.
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
    /// [`BodyError::Coding`] for any other coding, and for several.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, BodyError> {
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
            (Some(_), _) => Err(BodyError::Coding),
        }
    }
}

/// Decodes a complete body in parts of 64 KiB, and yields after each so that other tasks run.
/// `grows` is called with each part's length; its error ends the decoding.
///
/// # Errors
///
/// [`BodyError::NotGzip`] if the body is not valid gzip, or the error of `grows`.
pub(super) async fn gunzip(
    body: &[u8],
    mut grows: impl FnMut(usize) -> Result<(), BodyError>,
) -> Result<Vec<u8>, BodyError> {
    let mut plain = Vec::new();
    let mut decoder = MultiGzDecoder::new(body);
    loop {
        let before = plain.len();
        let mut part = (&mut decoder).take(PART_BYTES);
        let read = part.read_to_end(&mut plain);
        grows(plain.len() - before)?;
        match read {
            Ok(0) => return Ok(plain),
            Ok(_) => yield_once().await,
            Err(_) => return Err(BodyError::NotGzip),
        }
    }
}

/// Yields once to other tasks that are ready.
async fn yield_once() {
    let mut has_yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Decoded bytes of one part, which takes some hundred microseconds.
const PART_BYTES: u64 = 64 << 10;

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

    /// Decodes a body of at most `bytes_max` bytes. Also returns the number of steps.
    fn gunzip_in_steps(body: &[u8], bytes_max: usize) -> (Result<Vec<u8>, BodyError>, usize) {
        let mut room = bytes_max;
        let decoding = gunzip(body, |bytes| {
            room = room.checked_sub(bytes).ok_or(BodyError::TooLarge)?;
            Ok(())
        });
        let mut decoding = std::pin::pin!(decoding);
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let mut steps = 1;
        loop {
            match decoding.as_mut().poll(&mut cx) {
                Poll::Ready(read) => return (read, steps),
                Poll::Pending => steps += 1,
            }
        }
    }

    #[test]
    fn a_body_is_limited_by_its_decoded_size_and_decoding_yields() {
        let coded = gzip(&vec![b'a'; 1_000_000]);
        assert!(coded.len() < 2_000);
        let (plain, steps) = gunzip_in_steps(&coded, 1_000_000);
        assert_eq!((plain.map(|it| it.len()), steps), (Ok(1_000_000), 17));
        let (refused, steps) = gunzip_in_steps(&coded, 100_000);
        assert_eq!((refused, steps), (Err(BodyError::TooLarge), 2));
        let two = [gzip(b"ab"), gzip(b"cd")].concat();
        assert_eq!(gunzip_in_steps(&two, 4).0, Ok(b"abcd".to_vec()));
        assert_eq!(gunzip_in_steps(&gzip(b""), 0).0, Ok(Vec::new()));
    }

    #[test]
    fn incomplete_gzip_is_invalid() {
        let coded = gzip(b"abc");
        let trailed = [&coded[..], b"x"].concat();
        for body in [&b""[..], b"abc", &coded[..coded.len() - 1], &trailed] {
            let (refused, _) = gunzip_in_steps(body, 100);
            assert_eq!(refused, Err(BodyError::NotGzip), "{body:?}");
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
            assert_eq!(of(other), Err(BodyError::Coding), "{other:?}");
        }
    }
}
