//! The parser of transcripts. The grammar is in `main.rs`.

use crate::text::Text;

/// A transcript.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) name: String,
    /// The config in TOML, with [`PLAIN`] if the transcript has no routes.
    pub(crate) config: String,
    /// True if the gateway needs the handlers of `fixture.rs`.
    pub(crate) wants_handlers: bool,
    /// The names of the clients, in the order of their first steps.
    pub(crate) clients: Vec<String>,
    pub(crate) steps: Vec<Step>,
}

/// A step: a line with its header lines.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) line: usize,
    pub(crate) text: String,
    /// The index in [`Script::clients`].
    pub(crate) client: usize,
    /// The number of repetitions.
    pub(crate) count: usize,
    pub(crate) act: Act,
    /// Names and values of the header lines.
    pub(crate) headers: Vec<(String, String)>,
}

/// The action of a step.
#[derive(Debug)]
pub(crate) enum Act {
    Send(Unit),
    Receive(Unit),
    Silence,
    /// Advances the clock by milliseconds.
    Pass(u32),
}

/// A sent or received unit.
#[derive(Debug)]
pub(crate) enum Unit {
    /// An upgrade request for a path.
    Open(Text),
    /// The 101 response, with the selected subprotocol or an empty text.
    Opened(Text),
    Request {
        method: String,
        path: Text,
        body: Text,
    },
    Answer {
        status: u16,
        body: Text,
    },
    /// A frame: its first octet and its payload.
    Frame(u8, Text),
    Raw(Text),
    End,
}

impl Script {
    /// Parses a transcript.
    ///
    /// # Panics
    ///
    /// A line is invalid; the message has file and line.
    pub(crate) fn parse(name: &str, text: &str) -> Self {
        let mut script = Self {
            name: name.to_owned(),
            config: String::new(),
            wants_handlers: false,
            clients: Vec::new(),
            steps: Vec::new(),
        };
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let read = script.read_line(number, line);
            assert!(
                read.is_some(),
                "{name}:{number}: not in the grammar: {line}"
            );
        }
        assert!(!script.steps.is_empty(), "{name}: no steps");
        if !script.config.contains("routes") {
            script.config.push_str(PLAIN);
        }
        script
    }

    /// Returns `true` if the transcript has a `~` step.
    pub(crate) fn takes_time(&self) -> bool {
        let mut acts = self.steps.iter().map(|step| &step.act);
        acts.any(|act| matches!(act, Act::Pass(_)))
    }

    /// Parses a line. `None` if it is invalid, or invalid at this position.
    fn read_line(&mut self, number: usize, line: &str) -> Option<()> {
        if line.is_empty() || line.starts_with('#') {
        } else if line == "@ handlers" && self.steps.is_empty() {
            self.wants_handlers = true;
        } else if let Some(config) = line.strip_prefix('=') {
            if !self.steps.is_empty() {
                return None;
            }
            self.config.push_str(config.trim_start());
            self.config.push('\n');
        } else if line.starts_with(' ') {
            let (name, value) = line.trim_start().split_once(": ")?;
            let step = self.steps.last_mut()?;
            step.headers.push((name.to_owned(), value.to_owned()));
        } else {
            let (client, rest) = line.split_once(' ')?;
            let (count, rest) = parse_count(rest);
            let act = parse_act(rest)?;
            let client = self.client(client);
            self.steps.push(Step {
                line: number,
                text: line.to_owned(),
                client,
                count,
                act,
                headers: Vec::new(),
            });
        }
        Some(())
    }

    fn client(&mut self, name: &str) -> usize {
        let known = self.clients.iter().position(|client| client == name);
        known.unwrap_or_else(|| {
            self.clients.push(name.to_owned());
            self.clients.len() - 1
        })
    }
}

/// Parses an optional `COUNTx` and returns the count, 1 by default, and the rest.
fn parse_count(text: &str) -> (usize, &str) {
    let found = text.split_once("x ");
    let count = found.and_then(|(digits, rest)| Some((digits.parse().ok()?, rest)));
    count.unwrap_or((1, text))
}

fn parse_act(text: &str) -> Option<Act> {
    if text == "." {
        return Some(Act::Silence);
    }
    let (direction, text) = text.split_once(' ')?;
    match direction {
        ">" => Some(Act::Send(parse_unit(text, true)?)),
        "<" => Some(Act::Receive(parse_unit(text, false)?)),
        "~" => Some(Act::Pass(text.parse().ok()?)),
        _ => None,
    }
}

fn parse_unit(text: &str, is_sent: bool) -> Option<Unit> {
    let (kind, rest) = text.split_once(' ').unwrap_or((text, ""));
    let frame = |first_octet| Some(Unit::Frame(first_octet, Text::parse(rest)?));
    match kind {
        "open" if !is_sent => Some(Unit::Opened(Text::parse(rest)?)),
        "open" if !rest.is_empty() => Some(Unit::Open(Text::parse(rest)?)),
        "end" if rest.is_empty() => Some(Unit::End),
        "text" => frame(0x81),
        "binary" => frame(0x82),
        "ping" => frame(0x89),
        "pong" => frame(0x8a),
        "close" => {
            let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
            if code.is_empty() {
                return Some(Unit::Frame(0x88, Text::default()));
            }
            let code = code.parse::<u16>().ok()?.to_be_bytes();
            Some(Unit::Frame(0x88, Text::parse(reason)?.behind(&code)))
        }
        "frame" if is_sent => {
            let (octet, payload) = rest.split_once(' ').unwrap_or((rest, ""));
            let octet = u8::from_str_radix(octet, 16).ok()?;
            Some(Unit::Frame(octet, Text::parse(payload)?))
        }
        "raw" => Some(Unit::Raw(Text::parse(rest)?)),
        method if is_sent && method.bytes().all(|byte| byte.is_ascii_uppercase()) => {
            let (path, body) = rest.split_once(' ').unwrap_or((rest, ""));
            Some(Unit::Request {
                method: method.to_owned(),
                path: Text::parse(path)?,
                body: Text::parse(body)?,
            })
        }
        status if !is_sent => Some(Unit::Answer {
            status: status.parse().ok()?,
            body: Text::parse(rest)?,
        }),
        _ => None,
    }
}

/// The routes of the default config without commands and channels, so that transcripts show only
/// the dialects.
pub(crate) const PLAIN: &str = "
    [[routes]]
    path = '/ws'
    dialect = 'wserver'
    push_path = '/push'
    drop_path = '/drop'
    [[routes]]
    path = '/edk'
    dialect = 'edk'
    [[routes]]
    path = '/wsrv'
    dialect = 'wsrv'
    [[routes]]
    path = '/easyws'
    dialect = 'easyws'
    [[routes]]
    path = '/projectforge'
    dialect = 'projectforge'
    [[routes]]
    path = '/echo'
    dialect = 'echo'
";
