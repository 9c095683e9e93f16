//! Encoders of the client messages that these tests send and receive.

/// Encodes a request of `wsrv`. `data` is JSON.
pub(crate) fn wsrv_request(command: &str, seqno: &str, data: &str) -> String {
    format!(r#"{{"cmd":"{command}","seqno":"{seqno}","data":{data}}}"#)
}

/// Encodes a response of `wsrv`. `data` is JSON.
pub(crate) fn wsrv_response(
    command: &str,
    seqno: &str,
    status: i64,
    text: &str,
    data: &str,
) -> String {
    format!(
        r#"{{"cmd":"{command}","seqno":"{seqno}","status":{status},"msg":"{text}","data":{data}}}"#
    )
}

/// Encodes a `ws.Message` of `edk`. Type and payload have at most 127 bytes each.
pub(crate) fn envelope(kind: &str, payload: &str) -> Vec<u8> {
    let mut message = Vec::new();
    for (tag, text) in [(0x0a, kind), (0x12, payload)] {
        message.push(tag);
        message.push(u8::try_from(text.len()).expect("short"));
        message.extend_from_slice(text.as_bytes());
    }
    message
}
