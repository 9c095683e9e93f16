//! A client of the server API: requests on one connection, with JSON responses.

use campanile_tests::http::Response;
use campanile_tests::peer::Peer;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;

/// A connection for API requests.
pub(crate) struct Http(Peer);

/// A response with a JSON body or none.
#[derive(Clone, Debug)]
pub(crate) struct ApiResponse {
    pub(crate) status: u16,
    pub(crate) body: Value,
    response: Response,
}

impl Http {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self(Peer::connect(address))
    }

    /// Sends raw bytes.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.send(bytes);
    }

    /// Sends a request and reads its response. `headers` are whole lines.
    #[track_caller]
    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> ApiResponse {
        self.begin(method, path, headers, body);
        ApiResponse::of(self.0.response_to(method))
    }

    /// Sends a request without reading its response.
    #[track_caller]
    pub(crate) fn begin(&mut self, method: &str, path: &str, headers: &str, body: &str) {
        let len = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}");
        self.0
            .send(format!("{head}Content-Length: {len}\r\n\r\n{body}"));
    }

    /// Asserts that nothing arrives for `time`.
    #[track_caller]
    pub(crate) fn expect_quiet(&mut self, time: Duration) {
        self.0.expect_quiet(time);
    }

    /// Posts a call to the API without a key.
    #[track_caller]
    pub(crate) fn post(&mut self, call: &str, body: &str) -> ApiResponse {
        self.request("POST", &format!("/api/v1/{call}"), "", body)
    }

    /// Posts a call that must succeed and returns the body of the response.
    #[track_caller]
    pub(crate) fn done(&mut self, call: &str, body: &str) -> Value {
        let response = self.post(call, body);
        assert_eq!(response.status, 200, "{call} {body}: {}", response.body);
        response.body
    }

    /// Sends a GET request to the API and returns the body of the response.
    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> Value {
        let response = self.request("GET", &format!("/api/v1/{path}"), "", "");
        assert_eq!(response.status, 200, "{path}: {}", response.body);
        response.body
    }

    /// Reads a response with a text body and returns its status.
    #[track_caller]
    pub(crate) fn text_response(&mut self) -> u16 {
        self.0.response().status
    }

    /// Reads a response.
    #[track_caller]
    pub(crate) fn response(&mut self) -> ApiResponse {
        ApiResponse::of(self.0.response())
    }
}

impl ApiResponse {
    #[track_caller]
    fn of(response: Response) -> Self {
        let body = if response.body.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&response.body).expect("it is JSON")
        };
        Self {
            status: response.status,
            body,
            response,
        }
    }

    /// Returns status, error code and field, separated by spaces.
    #[track_caller]
    pub(crate) fn error(&self) -> String {
        let error = &self.body["error"];
        let code = error["code"].as_str().expect("a code");
        assert!(error["message"].is_string(), "{}", self.body);
        match error["field"].as_str() {
            Some(field) => format!("{} {code} {field}", self.status),
            None => format!("{} {code}", self.status),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.header(name)
    }
}
