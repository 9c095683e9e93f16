//! HTTP requests as browsers and backends send them, and removal of dates from responses.

/// Returns a browser's upgrade request for `path`, with the headers of all dialects.
pub(crate) fn upgrade_request(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\n\
         Host: 127.0.0.1:8080\r\n\
         Connection: Upgrade\r\n\
         Pragma: no-cache\r\n\
         Cache-Control: no-cache\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)\r\n\
         Upgrade: websocket\r\n\
         Origin: http://127.0.0.1:8080\r\n\
         Sec-WebSocket-Version: 13\r\n\
         Accept-Encoding: gzip, deflate, br, zstd\r\n\
         Accept-Language: en-US,en;q=0.9\r\n\
         Cookie: auth=jack\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
         Sec-WebSocket-Protocol: token\r\n\
         X-User-Id: jack\r\n\r\n"
    )
}

/// Returns a POST request with a JSON body.
pub(crate) fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\n\
         Host: 127.0.0.1:8080\r\n\
         Content-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

/// Overwrites the dates of responses, which differ each time.
pub(crate) fn undate(output: &mut [u8]) {
    let found = output.windows(DATE.len()).enumerate();
    let found = found.filter(|(_, window)| window.eq_ignore_ascii_case(DATE));
    let starts: Vec<usize> = found.map(|(at, _)| at + DATE.len()).collect();
    for start in starts {
        output[start..start + DATE_BYTES].fill(b'x');
    }
}

const DATE: &[u8] = b"\r\ndate: ";
/// `Sun, 06 Nov 1994 08:49:37 GMT`
const DATE_BYTES: usize = 29;
