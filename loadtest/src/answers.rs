//! Reads HTTP/1.1 answers out of a stream, however it is cut: status, length, body, next.
//!
//! It knows what a push gateway's answers need (`Content-Length`; no chunks, no trailers) and
//! refuses the rest aloud. The `push` command has hyper for this; the measuring figures need a
//! reader that costs next to nothing beside ten thousand sockets.

use crate::failure::{Failure, Outcome};
use crate::wire;

/// The unread rest of one connection's answers.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pending: Vec<u8>,
}

impl Answers {
    /// Takes what was read from the socket.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole answer, as the number of clients that its push reached; `None` while it is
    /// not all there.
    ///
    /// # Errors
    ///
    /// The answer is not `200` with the protocol's body.
    pub(crate) fn next_reached(&mut self) -> Outcome<Option<u64>> {
        let Some(head_end) = head_end(&self.pending) else {
            return Ok(None);
        };
        let refused = |bytes: &[u8]| {
            let shown = bytes[..bytes.len().min(300)].escape_ascii().to_string();
            Failure::new(format!("a push was answered `{shown}`"))
        };
        let head = &self.pending[..head_end];
        let length = content_length(head).ok_or_else(|| refused(&self.pending))?;
        let end = head_end + length;
        if self.pending.len() < end {
            return Ok(None);
        }
        let answer = &self.pending[..end];
        if !answer.starts_with(b"HTTP/1.1 200 ") {
            return Err(refused(answer));
        }
        let body = &answer[head_end..];
        let reached = wire::clients_reached(body).ok_or_else(|| refused(answer))?;
        self.pending.drain(..end);
        Ok(Some(reached))
    }
}

/// Where the body begins: behind the first empty line.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    const EMPTY_LINE: &[u8] = b"\r\n\r\n";
    let at = bytes
        .windows(EMPTY_LINE.len())
        .position(|window| window == EMPTY_LINE)?;
    Some(at + EMPTY_LINE.len())
}

fn content_length(head: &[u8]) -> Option<usize> {
    let text = str::from_utf8(head).ok()?;
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 25\r\nX: y\r\n\r\n\
                            message sent to 7 clients";

    #[test]
    fn answers_are_read_however_the_stream_is_cut() {
        let stream = [ANSWER, ANSWER, ANSWER].concat();
        for cut in 1..stream.len() {
            let mut answers = Answers::default();
            let mut reached = Vec::new();
            for piece in stream.chunks(cut) {
                answers.extend(piece);
                while let Some(clients) = answers.next_reached().expect("well formed") {
                    reached.push(clients);
                }
            }
            assert_eq!(reached, [7, 7, 7], "cut into {cut}");
        }
    }

    #[test]
    fn anything_but_200_with_a_count_is_refused() {
        for wrong in [
            &b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            let mut answers = Answers::default();
            answers.extend(wrong);
            assert!(answers.next_reached().is_err(), "{}", wrong.escape_ascii());
        }
    }
}
