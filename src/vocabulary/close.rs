//! The table of close causes: every reason for which a connection ends.
//!
//! For each cause it gives the close code and reason of the close frame, the label in metrics and
//! logs, and whether the client should reconnect. Encoding frames and closing sockets is done
//! elsewhere.

use std::fmt::{self, Write as _};

/// The cause of a connection's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCause {
    /// The client sent a close frame, with this code or none. It is answered with the same code and
    /// no reason.
    ClientClosed(Option<u16>),
    /// The client broke RFC 6455.
    Protocol(ProtocolError),
    /// A message is longer than the route's limit.
    TooBig,
    /// A text message is not UTF-8, in a dialect that checks text.
    InvalidText,
    /// The client reads too slowly, and its outbox is full.
    SlowConsumer,
    /// The shard's partial messages exceed `limits.partial_bytes_max`, and this session's is the
    /// largest.
    PartialBytes,
    /// The client sent nothing for the route's idle time-out.
    IdleTimeout,
    /// A message of the client was not complete in time.
    MessageTimeout,
    /// The client did not register in time.
    RegistrationTimeout,
    /// The session's names exceed `limits.names_bytes_per_session_max`.
    TooManyNames,
    /// A name that the session needs would exceed `limits.names_bytes_max` of the shard.
    NamesFull,
    /// The exclusive user has connected again; the newer session stays.
    Replaced,
    /// The gateway stops.
    Shutdown,
    /// The embedder or the server API dropped the session.
    Dropped,
    /// An embedder, a hook or the server API closed the session with this code and its own reason.
    Closed(u16),
    /// A message is invalid, in a dialect that closes sessions for that.
    Malformed,
    /// A handler failed, in a dialect that closes sessions for that.
    HandlerFailed,
    /// The head of an HTTP request did not arrive in time.
    HandshakeTimeout,
    /// The body of an HTTP request did not arrive in time.
    BodyTimeout,
    /// The peer reset the connection, or ended it without a close frame.
    Reset,
    /// The peer did not end the connection in time after the close frames.
    CloseGrace,
}

/// Returns whether a close frame may contain this code (RFC 6455 7.4 and IANA's registry).
///
/// gorilla/websocket, and so the original servers, reject 1014 (Bad Gateway).
pub fn is_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Returns whether an embedder, a hook or the server API may close a session with this code and
/// reason.
///
/// All codes of [`is_code`] are allowed except 1002, which only the gateway sends, and 1014, which
/// is a protocol error for clients that do not know it. A reason may have 123 bytes.
pub(crate) fn may_close(code: u16, reason: &str) -> bool {
    is_code(code) && !matches!(code, 1002 | 1014) && reason.len() <= REASON_BYTES_MAX
}

/// The codes that [`may_close`] allows, for error messages.
pub(crate) const CODES: &str = "1000, 1001, 1003, 1007 to 1013 or 3000 to 4999";

impl CloseCause {
    /// Returns the row of the table.
    fn row(self) -> Row {
        use Reconnect::{No, Yes};
        match self {
            Self::ClientClosed(code) => Row::without_reason("client_closed", code, No),
            Self::TooBig => Self::Protocol(ProtocolError::TooBig).row(),
            Self::Protocol(error) => Row {
                label: if error == ProtocolError::TooBig {
                    "too_big"
                } else {
                    "protocol_error"
                },
                frame: Some((Some(error.code()), error.reason())),
                reconnect: No,
            },
            Self::InvalidText => Row::of("invalid_text", 1007, "text message is not utf8", No),
            Self::SlowConsumer => Row::of("slow_consumer", 1008, "too slow", Yes),
            Self::PartialBytes => Row::of("partial_bytes", 1009, "too many unfinished bytes", Yes),
            Self::IdleTimeout => Row::of("idle_timeout", 1001, "idle timeout", Yes),
            Self::MessageTimeout => Row::of("message_timeout", 1008, "message timeout", Yes),
            Self::RegistrationTimeout => {
                Row::of("registration_timeout", 1008, "registration timeout", No)
            }
            Self::TooManyNames => Row::of("too_many_names", 1008, "too many names", No),
            Self::NamesFull => Row::of("names_full", 1013, "no room for another name", Yes),
            Self::Replaced => Row::of("replaced", 4001, "replaced by a new connection", No),
            Self::Shutdown => Row::of("shutdown", 1001, "server is shutting down", Yes),
            Self::Dropped => Row::of("dropped", 1000, "dropped by the server", No),
            Self::Closed(code) => Row::without_reason("closed", Some(code), No),
            Self::Malformed => Row::of("malformed", 1007, "invalid message", No),
            Self::HandlerFailed => Row::of("handler_failed", 1011, "message handling failed", No),
            Self::HandshakeTimeout => Row::abort("handshake_timeout", Yes),
            Self::BodyTimeout => Row::abort("body_timeout", Yes),
            Self::Reset => Row::abort("reset", Yes),
            Self::CloseGrace => Row::abort("close_grace", No),
        }
    }

    /// Returns whether a close frame is sent before the connection is closed. If not, it is
    /// aborted.
    pub fn sends_close_frame(self) -> bool {
        self.row().frame.is_some()
    }

    /// Returns the code of the close frame. Returns `None` if no close frame is sent, or if an
    /// empty one answers the client's empty one.
    pub fn code(self) -> Option<u16> {
        self.row().frame.and_then(|(code, _)| code)
    }

    /// Returns the reason of the close frame; it may be empty.
    pub fn reason(self) -> Reason {
        self.row().frame.map_or(Reason::EMPTY, |(_, reason)| reason)
    }

    /// Returns the label in metrics and logs.
    pub fn label(self) -> &'static str {
        self.row().label
    }

    /// Returns whether the client should reconnect: the cause was the network, the load or this
    /// process, and not the client's identity or messages.
    pub fn should_reconnect(self) -> bool {
        self.row().reconnect == Reconnect::Yes
    }
}

/// A row of the table.
struct Row {
    label: &'static str,
    /// The code and the reason of the close frame; `None` if none is sent.
    frame: Option<(Option<u16>, Reason)>,
    reconnect: Reconnect,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reconnect {
    Yes,
    No,
}

impl Row {
    fn of(label: &'static str, code: u16, reason: &'static str, reconnect: Reconnect) -> Self {
        Self {
            label,
            frame: Some((Some(code), Reason::of(reason))),
            reconnect,
        }
    }

    /// Creates a row whose code comes from elsewhere, without a reason.
    fn without_reason(label: &'static str, code: Option<u16>, reconnect: Reconnect) -> Self {
        Self {
            label,
            frame: Some((code, Reason::EMPTY)),
            reconnect,
        }
    }

    /// Creates a row without a close frame.
    fn abort(label: &'static str, reconnect: Reconnect) -> Self {
        Self {
            label,
            frame: None,
            reconnect,
        }
    }
}

impl From<ProtocolError> for CloseCause {
    /// [`ProtocolError::TooBig`] has its own cause; all others are protocol errors.
    fn from(error: ProtocolError) -> Self {
        match error {
            ProtocolError::TooBig => Self::TooBig,
            ProtocolError::Head { .. }
            | ProtocolError::LengthTopBit
            | ProtocolError::CloseOfOneByte
            | ProtocolError::CloseCode(_)
            | ProtocolError::CloseReason => Self::Protocol(error),
        }
    }
}

/// A violation of RFC 6455 or of the message limit by a client's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// The first two bytes of a frame head have at least one fault.
    Head {
        /// All faults.
        faults: HeadFaults,
        /// The opcode, known or not.
        opcode: u8,
    },
    /// A 64-bit length has its top bit set (RFC 6455 5.2).
    LengthTopBit,
    /// A message is longer than the limit, or its frame heads declare that it will be.
    TooBig,
    /// A close frame's payload has one byte, too short for a code.
    CloseOfOneByte,
    /// A close frame's code must not be sent (see [`is_code`]).
    CloseCode(u16),
    /// A close frame's reason is not UTF-8.
    CloseReason,
}

impl ProtocolError {
    /// Returns the close code with which the connection ends.
    pub fn code(self) -> u16 {
        match self {
            Self::TooBig => 1009,
            Self::Head { .. }
            | Self::LengthTopBit
            | Self::CloseOfOneByte
            | Self::CloseCode(_)
            | Self::CloseReason => 1002,
        }
    }

    /// Returns the reason to send with the code. Where gorilla/websocket 1.5.3 has a text, it is
    /// the same.
    pub fn reason(self) -> Reason {
        match self {
            Self::Head { faults, opcode } => faults.reason(opcode),
            Self::LengthTopBit => Reason::of("bad length"),
            Self::TooBig => Reason::of("message too big"),
            Self::CloseOfOneByte => Reason::of("bad close payload"),
            Self::CloseCode(code) => Reason::numbered("bad close code ", code),
            Self::CloseReason => Reason::of("invalid utf8 payload in close frame"),
        }
    }
}

/// A fault in the first two bytes of a frame head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HeadFault {
    /// Reserved bit 1 is set without an extension that uses it.
    Rsv1,
    /// Reserved bit 2 is set without an extension that uses it.
    Rsv2,
    /// Reserved bit 3 is set without an extension that uses it.
    Rsv3,
    /// A control frame is longer than 125 bytes.
    ControlTooLong,
    /// A control frame is a fragment.
    ControlNotFinal,
    /// A message begins before the previous one has ended.
    DataBeforeFin,
    /// A continuation frame arrives while no message is open.
    ContinuationAfterFin,
    /// The opcode is not defined in RFC 6455.
    Opcode,
    /// The frame is not masked.
    Mask,
}

impl HeadFault {
    /// All faults, in the order in which they are reported.
    pub const ALL: [Self; 9] = [
        Self::Rsv1,
        Self::Rsv2,
        Self::Rsv3,
        Self::ControlTooLong,
        Self::ControlNotFinal,
        Self::DataBeforeFin,
        Self::ContinuationAfterFin,
        Self::Opcode,
        Self::Mask,
    ];

    /// Returns gorilla's text. For [`HeadFault::Opcode`] the caller appends the number.
    fn text(self) -> &'static str {
        match self {
            Self::Rsv1 => "RSV1 set",
            Self::Rsv2 => "RSV2 set",
            Self::Rsv3 => "RSV3 set",
            Self::ControlTooLong => "len > 125 for control",
            Self::ControlNotFinal => "FIN not set on control",
            Self::DataBeforeFin => "data before FIN",
            Self::ContinuationAfterFin => "continuation after FIN",
            Self::Opcode => "bad opcode ",
            Self::Mask => "bad MASK",
        }
    }
}

/// A set of [`HeadFault`]s. All are reported at once, as gorilla does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadFaults {
    bits: u16,
}

impl HeadFaults {
    /// Adds `fault` if it is `present`.
    #[inline]
    pub(crate) fn note(&mut self, fault: HeadFault, present: bool) {
        self.bits |= u16::from(present) << (fault as u8);
    }

    /// Returns whether the set is empty.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.bits == 0
    }

    /// Returns whether the set contains `fault`.
    pub fn contains(self, fault: HeadFault) -> bool {
        self.bits >> (fault as u8) & 1 == 1
    }

    fn reason(self, opcode: u8) -> Reason {
        let mut reason = Reason::EMPTY;
        for fault in HeadFault::ALL {
            if !self.contains(fault) {
                continue;
            }
            let separator = if reason.len == 0 { "" } else { ", " };
            let wrote = match fault {
                HeadFault::Opcode => write!(reason, "{separator}{}{opcode}", fault.text()),
                HeadFault::Rsv1
                | HeadFault::Rsv2
                | HeadFault::Rsv3
                | HeadFault::ControlTooLong
                | HeadFault::ControlNotFinal
                | HeadFault::DataBeforeFin
                | HeadFault::ContinuationAfterFin
                | HeadFault::Mask => write!(reason, "{separator}{}", fault.text()),
            };
            wrote.expect("all faults of one head fit together");
        }
        reason
    }
}

/// The reason of a close frame: at most [`REASON_BYTES_MAX`] bytes of UTF-8, held in place.
#[derive(Clone, Copy)]
pub struct Reason {
    bytes: [u8; REASON_BYTES_MAX],
    len: u8,
}

/// Length limit of a close frame's reason, in bytes (RFC 6455 5.5).
pub const REASON_BYTES_MAX: usize = 123;

impl Reason {
    const EMPTY: Self = Self {
        bytes: [0; REASON_BYTES_MAX],
        len: 0,
    };

    /// Returns the text; it may be empty.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..usize::from(self.len)]).expect("made of whole strings")
    }

    fn of(text: &'static str) -> Self {
        let mut reason = Self::EMPTY;
        reason.write_str(text).expect("the table's texts fit");
        reason
    }

    fn numbered(text: &'static str, number: u16) -> Self {
        let mut reason = Self::EMPTY;
        write!(reason, "{text}{number}").expect("the table's texts fit");
        reason
    }
}

impl fmt::Write for Reason {
    /// Appends `text`, or fails and appends nothing if there is no room for all of it.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let start = usize::from(self.len);
        let end = start + text.len();
        let room = self.bytes.get_mut(start..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = u8::try_from(end).expect("at most REASON_BYTES_MAX");
        Ok(())
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PartialEq for Reason {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Reason {}

const _: () = {
    assert!(size_of::<ProtocolError>() <= 8);
    assert!(size_of::<CloseCause>() <= 8);
    assert!(REASON_BYTES_MAX <= u8::MAX as usize);
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Enumerates all causes. A new cause does not compile until it is added here.
    fn next(end: Option<CloseCause>) -> Option<CloseCause> {
        let Some(end) = end else {
            return Some(CloseCause::ClientClosed(Some(1000)));
        };
        Some(match end {
            CloseCause::ClientClosed(_) => CloseCause::Protocol(ProtocolError::LengthTopBit),
            CloseCause::Protocol(_) => CloseCause::TooBig,
            CloseCause::TooBig => CloseCause::InvalidText,
            CloseCause::InvalidText => CloseCause::SlowConsumer,
            CloseCause::SlowConsumer => CloseCause::PartialBytes,
            CloseCause::PartialBytes => CloseCause::IdleTimeout,
            CloseCause::IdleTimeout => CloseCause::MessageTimeout,
            CloseCause::MessageTimeout => CloseCause::RegistrationTimeout,
            CloseCause::RegistrationTimeout => CloseCause::TooManyNames,
            CloseCause::TooManyNames => CloseCause::NamesFull,
            CloseCause::NamesFull => CloseCause::Replaced,
            CloseCause::Replaced => CloseCause::Shutdown,
            CloseCause::Shutdown => CloseCause::Dropped,
            CloseCause::Dropped => CloseCause::Closed(4000),
            CloseCause::Closed(_) => CloseCause::Malformed,
            CloseCause::Malformed => CloseCause::HandlerFailed,
            CloseCause::HandlerFailed => CloseCause::HandshakeTimeout,
            CloseCause::HandshakeTimeout => CloseCause::BodyTimeout,
            CloseCause::BodyTimeout => CloseCause::Reset,
            CloseCause::Reset => CloseCause::CloseGrace,
            CloseCause::CloseGrace => return None,
        })
    }

    fn all() -> Vec<CloseCause> {
        let all: Vec<CloseCause> =
            std::iter::successors(next(None), |&end| next(Some(end))).collect();
        assert_eq!(all.len(), 21);
        all
    }

    fn all_protocol_errors() -> Vec<ProtocolError> {
        let mut all = vec![
            ProtocolError::LengthTopBit,
            ProtocolError::TooBig,
            ProtocolError::CloseOfOneByte,
            ProtocolError::CloseReason,
        ];
        all.extend((0..=u16::MAX).map(ProtocolError::CloseCode));
        // One fault at a time; the tests of ws/decoder.rs try all sets that a head can have.
        for fault in HeadFault::ALL {
            let mut faults = HeadFaults::default();
            faults.note(fault, true);
            all.push(ProtocolError::Head { faults, opcode: 15 });
        }
        all
    }

    #[test]
    fn labels_are_unique_and_plain() {
        let ends = all();
        let labels: BTreeSet<&str> = ends.iter().map(|end| end.label()).collect();
        assert_eq!(labels.len(), ends.len());
        for label in labels {
            assert!(
                label
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            );
        }
    }

    #[test]
    fn an_aborted_connection_gets_no_frame_and_every_other_a_code_that_may_be_sent() {
        for end in all() {
            if end.sends_close_frame() {
                let code = end
                    .code()
                    .expect("only an empty close is answered without one");
                assert!(is_code(code), "{end:?}");
            } else {
                assert_eq!(end.code(), None, "{end:?}");
                assert_eq!(end.reason(), Reason::EMPTY, "{end:?}");
            }
        }
        let empty = CloseCause::ClientClosed(None);
        assert!(empty.sends_close_frame());
        assert_eq!((empty.code(), empty.reason().as_str()), (None, ""));
    }

    #[test]
    fn the_allowed_codes_are_those_in_the_error_message() {
        let ranges: Vec<(u16, u16)> = CODES
            .split(", ")
            .flat_map(|part| part.split(" or "))
            .map(|part| part.split_once(" to ").unwrap_or((part, part)))
            .map(|(first, last)| (first.parse().expect("a code"), last.parse().expect("one")))
            .collect();
        assert_eq!(ranges.len(), 5);
        for code in 0..=u16::MAX {
            let is_listed = ranges
                .iter()
                .any(|&(first, last)| (first..=last).contains(&code));
            assert_eq!(may_close(code, ""), is_listed, "{code}");
            assert!(is_code(code) || !is_listed, "{code}");
        }
        assert!(may_close(1000, &"x".repeat(REASON_BYTES_MAX)));
        assert!(!may_close(1000, &"x".repeat(REASON_BYTES_MAX + 1)));
    }

    #[test]
    fn every_protocol_error_has_a_code_and_a_reason_that_fits() {
        for error in all_protocol_errors() {
            assert!(error.reason().as_str().len() <= REASON_BYTES_MAX);
            let expected = if error == ProtocolError::TooBig {
                1009
            } else {
                1002
            };
            assert_eq!(error.code(), expected);
            assert_eq!(CloseCause::from(error).code(), Some(expected));
            assert_eq!(CloseCause::from(error).reason(), error.reason());
        }
    }

    #[test]
    fn a_message_that_is_too_big_has_one_close_cause() {
        let (found, wrapped) = (
            CloseCause::from(ProtocolError::TooBig),
            CloseCause::Protocol(ProtocolError::TooBig),
        );
        assert_eq!(found, CloseCause::TooBig);
        assert_eq!(found.label(), wrapped.label());
        assert_eq!(found.reason(), wrapped.reason());
        assert_eq!(found.code(), wrapped.code());
    }

    /// Repeats the table, so that a change visible to clients must be made twice.
    #[test]
    fn the_table_has_not_changed() {
        let rows: Vec<(Option<u16>, String, bool)> = all()
            .into_iter()
            .map(|end| (end.code(), end.reason().to_string(), end.should_reconnect()))
            .collect();
        let expected = [
            (Some(1000), "", false),
            (Some(1002), "bad length", false),
            (Some(1009), "message too big", false),
            (Some(1007), "text message is not utf8", false),
            (Some(1008), "too slow", true),
            (Some(1009), "too many unfinished bytes", true),
            (Some(1001), "idle timeout", true),
            (Some(1008), "message timeout", true),
            (Some(1008), "registration timeout", false),
            (Some(1008), "too many names", false),
            (Some(1013), "no room for another name", true),
            (Some(4001), "replaced by a new connection", false),
            (Some(1001), "server is shutting down", true),
            (Some(1000), "dropped by the server", false),
            (Some(4000), "", false),
            (Some(1007), "invalid message", false),
            (Some(1011), "message handling failed", false),
            (None, "", true),
            (None, "", true),
            (None, "", true),
            (None, "", false),
        ]
        .map(|(code, reason, back)| (code, reason.to_owned(), back));
        assert_eq!(rows, expected);
    }

    /// docs/ends.md tells clients what to do about each cause.
    #[test]
    fn the_documented_table_has_every_end() {
        let document = include_str!("../../docs/ends.md");
        let rows = document.lines().filter(|line| line.starts_with("| `"));
        let documented: Vec<String> = rows
            .map(|row| row.rsplit_once('|').expect("it ends with one").0)
            .map(|row| {
                row.rsplit_once('|')
                    .expect("its last column is prose")
                    .0
                    .to_owned()
            })
            .collect();
        let described = all().into_iter().map(|end| {
            let code = if matches!(end, CloseCause::ClientClosed(_)) {
                "its own".to_owned()
            } else if matches!(end, CloseCause::Closed(_)) {
                "as asked".to_owned()
            } else {
                let code = end.code().map(|code| code.to_string());
                code.unwrap_or_else(|| "none".to_owned())
            };
            let reason = if matches!(end, CloseCause::Protocol(_)) {
                "what is wrong".to_owned()
            } else {
                end.reason().to_string()
            };
            let back = if end.should_reconnect() { "yes" } else { "no" };
            format!("| `{}` | {code} | {reason} | {back} ", end.label())
        });
        assert_eq!(documented, described.collect::<Vec<_>>());
    }

    #[test]
    fn a_reason_takes_a_text_whole_or_not_at_all() {
        let mut reason = Reason::EMPTY;
        assert!(reason.write_str(&"x".repeat(REASON_BYTES_MAX)).is_ok());
        assert!(reason.write_str("y").is_err());
        assert_eq!(reason.as_str(), "x".repeat(REASON_BYTES_MAX));
    }
}
