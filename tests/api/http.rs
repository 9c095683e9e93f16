//! Calls of the server API, one after the other on one connection, and answers that are JSON.

use campanile_tests::http::Response;
use campanile_tests::peer::Peer;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;

/// A connection for requests.
pub(crate) struct Http(Peer);

/// An answer whose body is JSON, or empty.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    response: Response,
}

impl Http {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self(Peer::connect(address))
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.send(bytes);
    }

    /// Asks for something; `headers` is whole lines.
    #[track_caller]
    pub(crate) fn ask(&mut self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        self.begin(method, path, headers, body);
        Answer::of(self.0.response_to(method))
    }

    /// Sends a request, and leaves its answer to be read.
    #[track_caller]
    pub(crate) fn begin(&mut self, method: &str, path: &str, headers: &str, body: &str) {
        let len = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}");
        self.0
            .send(format!("{head}Content-Length: {len}\r\n\r\n{body}"));
    }

    /// Nothing comes for so long.
    #[track_caller]
    pub(crate) fn expect_quiet(&mut self, time: Duration) {
        self.0.expect_quiet(time);
    }

    /// Posts to the API, where no key is asked for.
    #[track_caller]
    pub(crate) fn post(&mut self, call: &str, body: &str) -> Answer {
        self.ask("POST", &format!("/api/v1/{call}"), "", body)
    }

    /// Posts to the API, which does it, and returns what it says.
    #[track_caller]
    pub(crate) fn done(&mut self, call: &str, body: &str) -> Value {
        let answer = self.post(call, body);
        assert_eq!(answer.status, 200, "{call} {body}: {}", answer.body);
        answer.body
    }

    /// Looks something up in the API.
    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> Value {
        let answer = self.ask("GET", &format!("/api/v1/{path}"), "", "");
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.body
    }

    /// Reads one answer whose body is a text, and forgets the text.
    #[track_caller]
    pub(crate) fn text_answer(&mut self) -> u16 {
        self.0.response().status
    }

    /// Reads one answer.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Answer {
        Answer::of(self.0.response())
    }
}

impl Answer {
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

    /// What it refuses: status, code and field, with spaces between.
    #[track_caller]
    pub(crate) fn refusal(&self) -> String {
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
