//! What is said in the languages of the originals, as far as it is needed here.

/// A request of `wsrv`; the data is JSON.
pub(crate) fn asked(command: &str, seqno: &str, data: &str) -> String {
    format!(r#"{{"cmd":"{command}","seqno":"{seqno}","data":{data}}}"#)
}

/// A response of `wsrv`; the data is JSON.
pub(crate) fn answered(command: &str, seqno: &str, status: i64, text: &str, data: &str) -> String {
    format!(
        r#"{{"cmd":"{command}","seqno":"{seqno}","status":{status},"msg":"{text}","data":{data}}}"#
    )
}

/// A `ws.Message` of `edk` with this type and payload, of at most 127 bytes each.
pub(crate) fn envelope(kind: &str, payload: &str) -> Vec<u8> {
    let mut message = Vec::new();
    for (tag, text) in [(0x0a, kind), (0x12, payload)] {
        message.push(tag);
        message.push(u8::try_from(text.len()).expect("short"));
        message.extend_from_slice(text.as_bytes());
    }
    message
}
