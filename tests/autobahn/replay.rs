//! The replay of one case: sends the suite's frames to a server and checks its frames.
//!
//! It uses one blocking connection and its own frame reader. Every wait has a timeout.

use crate::transcript::{Case, octets, put_frames};
use campanile_tests::http::{Response, upgrade};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Replays a case on a new connection and compares the server's frames.
///
/// `answer_wait` is the timeout of every wait for the server. An error describes the difference.
pub(crate) fn replay(
    case: &Case,
    address: SocketAddr,
    answer_wait: Duration,
) -> Result<(), String> {
    let stream = TcpStream::connect(address).map_err(|error| format!("to connect: {error}"))?;
    stream
        .set_nodelay(true)
        .expect("the suite's writes go out one by one");
    stream
        .set_write_timeout(Some(answer_wait))
        .expect("not zero");

    let mut talk = Replay {
        reader: BufReader::new(&stream),
        answer_wait,
        unsent: Vec::new(),
        piece_octets: usize::MAX,
        closed_early: None,
        write_error: None,
    };
    talk.upgrade()?;
    for line in &case.lines {
        let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
        match mark {
            "<" | "<?" => talk.expect_frame(rest, mark == "<?")?,
            "." | ".?" => talk.pause(mark == ".?")?,
            _ => talk.add_frames(mark, rest),
        }
    }
    talk.send();
    talk.expect_end()
}

/// A connection in the middle of a case.
struct Replay<'s> {
    reader: BufReader<&'s TcpStream>,
    answer_wait: Duration,
    /// Frames that the suite sends in one write, collected from the transcript.
    unsent: Vec<u8>,
    /// The size in octets of the pieces into which `unsent` is split.
    piece_octets: usize,
    /// The server's close frame, if it came before the transcript's where the suite allows it. As
    /// the suite does, nothing more is sent until the close frame of the transcript.
    closed_early: Option<Frame>,
    /// The error of a failed write.
    write_error: Option<io::Error>,
}

#[derive(Debug)]
struct Frame {
    opcode: u8,
    payload: Vec<u8>,
}

impl Replay<'_> {
    fn upgrade(&mut self) -> Result<(), String> {
        self.unsent
            .extend_from_slice(upgrade("GET /echo HTTP/1.1", &["Host: 127.0.0.1"]).as_bytes());
        self.send();
        self.wait_at_most(self.answer_wait);

        let response = Response::read(&mut self.reader, "GET");
        let response = response.map_err(|error| format!("its response: {error}"))?;
        let accepted = response.header("sec-websocket-accept") == Some(ACCEPT);
        (response.status == 101 && accepted)
            .then_some(())
            .ok_or_else(|| format!("refused: {}", response.status))
    }

    /// Adds the suite's next frames. Frames with the mark `+` belong to the write before.
    fn add_frames(&mut self, mark: &str, rest: &str) {
        if self.closed_early.is_some() {
            return;
        }
        if mark != "+" {
            self.send();
        }
        match mark {
            "=" => self.unsent.extend_from_slice(&octets(rest)),
            "+" | ">" => put_frames(&mut self.unsent, rest),
            _ => {
                let piece_octets = mark.strip_prefix('>').expect("a mark of the grammar");
                self.piece_octets = piece_octets.parse().expect("a number of octets");
                put_frames(&mut self.unsent, rest);
            }
        }
    }

    fn send(&mut self) {
        let mut stream: &TcpStream = self.reader.get_ref();
        let mut pieces = self.unsent.chunks(self.piece_octets);
        // The server's last frames can still be read and explain the failed write.
        if let Err(error) = pieces.try_for_each(|piece| stream.write_all(piece)) {
            self.write_error.get_or_insert(error);
        }
        self.unsent.clear();
        self.piece_octets = usize::MAX;
    }

    /// Waits for the recorded response: `text`, `binary` or `pong` with its octets, or `close` with
    /// the allowed codes. Instead of an optional response the close frame may come.
    fn expect_frame(&mut self, wanted: &str, optional: bool) -> Result<(), String> {
        self.send();
        let (kind, rest) = wanted.split_once(' ').expect("an answer of the grammar");
        let frame = match self.closed_early.take() {
            Some(frame) => frame,
            None => self.read_frame()?,
        };
        if kind == "close" {
            return check_close(&frame, rest);
        }
        if frame.opcode == CLOSE {
            let code = close_code(&frame)?;
            self.closed_early = Some(frame);
            let complaint = || format!("closed with {code} before its answer");
            return optional.then_some(()).ok_or_else(complaint);
        }
        let opcode = match kind {
            "text" => 1,
            "binary" => 2,
            "pong" => 10,
            _ => panic!("not an answer of the grammar: {wanted}"),
        };
        if frame.opcode != opcode {
            return Err(format!("opcode {} instead of {kind}", frame.opcode));
        }
        check_payload(&frame.payload, &octets(rest))
    }

    /// Waits for a close frame, or for [`PAUSE`] without any frame. With `must_close` the close
    /// frame is required, although the suite would accept none.
    fn pause(&mut self, must_close: bool) -> Result<(), String> {
        if self.closed_early.is_some() {
            return Ok(());
        }
        self.send();
        if !must_close {
            self.wait_at_most(PAUSE);
            return match self.reader.fill_buf() {
                Err(error) if is_timeout(&error) => Ok(()),
                Err(error) => Err(format!("in a pause: {error}")),
                Ok(_) => Err("broke a silence".to_owned()),
            };
        }
        let frame = self.read_frame()?;
        if frame.opcode != CLOSE {
            return Err(format!(
                "opcode {} in a pause instead of a close frame",
                frame.opcode
            ));
        }
        self.closed_early = Some(frame);
        Ok(())
    }

    fn expect_end(&mut self) -> Result<(), String> {
        if let Some(error) = self.write_error.take() {
            return Err(format!("the end of the connection came too soon: {error}"));
        }
        self.wait_at_most(self.answer_wait);
        match self.reader.fill_buf() {
            Ok([]) => Ok(()),
            Ok(_) => Err("spoke after its close frame".to_owned()),
            Err(error) => Err(format!("the end of the connection: {error}")),
        }
    }

    /// Reads one unfragmented frame (RFC 6455, section 5.2).
    fn read_frame(&mut self) -> Result<Frame, String> {
        self.wait_at_most(self.answer_wait);
        let [first, second] = self.read_octets()?;
        if first & 0x70 != 0 {
            return Err("reserved bits".to_owned());
        }
        let opcode = first & 15;
        if first & 0x80 == 0 || opcode == 0 {
            return Err("not a single unfragmented frame".to_owned());
        }
        if second & 0x80 != 0 {
            return Err("a masked frame".to_owned());
        }
        let (length, length_min) = match second {
            126 => (u64::from(u16::from_be_bytes(self.read_octets()?)), 126),
            127 => (u64::from_be_bytes(self.read_octets()?), 1 << 16),
            short => (u64::from(short), 0),
        };
        if length < length_min {
            return Err("a length not in its shortest form".to_owned());
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > MESSAGE_BYTES_MAX {
            return Err(format!(
                "a frame of {length} octets, the suite sent none as long"
            ));
        }
        let mut payload = vec![0; length];
        self.reader.read_exact(&mut payload).map_err(cut_short)?;
        Ok(Frame { opcode, payload })
    }

    fn read_octets<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut octets = [0; N];
        self.reader.read_exact(&mut octets).map_err(cut_short)?;
        Ok(octets)
    }

    fn wait_at_most(&self, wait: Duration) {
        self.reader
            .get_ref()
            .set_read_timeout(Some(wait))
            .expect("not zero");
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that `map_err` wants"
)]
fn cut_short(error: io::Error) -> String {
    if error.kind() == ErrorKind::UnexpectedEof {
        "ended before a frame was complete".to_owned()
    } else if is_timeout(&error) {
        "no answer".to_owned()
    } else {
        format!("instead of an answer: {error}")
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn check_payload(found: &[u8], wanted: &[u8]) -> Result<(), String> {
    if found.len() != wanted.len() {
        return Err(format!(
            "{} octets instead of {}",
            found.len(),
            wanted.len()
        ));
    }
    if found == wanted {
        return Ok(());
    }
    let mut pairs = found.iter().zip(wanted);
    let at = pairs
        .position(|(found, wanted)| found != wanted)
        .expect("of one length, not equal");
    Err(format!("the answer's octets differ at octet {at}"))
}

fn check_close(frame: &Frame, codes: &str) -> Result<(), String> {
    if frame.opcode != CLOSE {
        return Err(format!("opcode {} instead of a close frame", frame.opcode));
    }
    let code = close_code(frame)?;
    let fits = codes.split(' ').any(|wanted| wanted == code);
    let complaint = || {
        let code = if code == NO_CODE { "no code" } else { &code };
        format!("closed with {code}, wanted {codes}")
    };
    fits.then_some(()).ok_or_else(complaint)
}

/// Returns the code of a close frame in the form of the transcripts.
fn close_code(frame: &Frame) -> Result<String, String> {
    match frame.payload.as_slice() {
        [] => Ok(NO_CODE.to_owned()),
        [_] => Err("a close frame of one octet".to_owned()),
        [high, low, reason @ ..] => {
            str::from_utf8(reason).map_err(|_| "a close reason that is not UTF-8".to_owned())?;
            Ok(u16::from_be_bytes([*high, *low]).to_string())
        }
    }
}

/// The `Sec-WebSocket-Accept` for the key of the example (RFC 6455, section 1.3).
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const CLOSE: u8 = 8;
const NO_CODE: &str = "-";
/// The longest message of the suite, and the longest that the gateway accepts, in bytes.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// The duration of a pause, which is 1 s in the suite.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);
