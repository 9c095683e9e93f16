//! Reads a transcript's text into steps. The grammar is in `tests/transcripts.rs`.

/// One transcript.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) name: String,
    /// TOML; empty for the default config.
    pub(crate) config: String,
    /// The names of its clients, in the order in which they come.
    pub(crate) clients: Vec<String>,
    pub(crate) steps: Vec<Step>,
}

/// One line, with the header lines that belong to it.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) line: usize,
    pub(crate) text: String,
    /// Index into [`Script::clients`].
    pub(crate) client: usize,
    pub(crate) act: Act,
    /// Name and value.
    pub(crate) headers: Vec<(String, String)>,
}

/// What happens in a step.
#[derive(Debug)]
pub(crate) enum Act {
    Say(Word),
    Hear(Word),
    Silence,
}

/// What a client says or hears.
#[derive(Debug)]
pub(crate) enum Word {
    /// An upgrade request for this path, or the granting of one.
    Open(String),
    Request {
        method: String,
        path: String,
        body: Vec<u8>,
    },
    Answer {
        status: u16,
        body: Vec<u8>,
    },
    /// A frame: its first octet and its payload.
    Frame(u8, Vec<u8>),
    Raw(Vec<u8>),
    End,
}

impl Script {
    /// Reads a transcript.
    ///
    /// # Panics
    ///
    /// With file and line, if the grammar does not have it.
    pub(crate) fn parse(name: &str, text: &str) -> Self {
        let mut script = Self {
            name: name.to_owned(),
            config: String::new(),
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
        assert!(!script.steps.is_empty(), "{name}: says nothing");
        script
    }

    /// `None` if the grammar does not have such a line, or not here.
    fn read_line(&mut self, number: usize, line: &str) -> Option<()> {
        if line.is_empty() || line.starts_with('#') {
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
            let act = parse_act(rest)?;
            let client = self.client(client);
            self.steps.push(Step {
                line: number,
                text: line.to_owned(),
                client,
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

fn parse_act(text: &str) -> Option<Act> {
    if text == "." {
        return Some(Act::Silence);
    }
    let (direction, text) = text.split_once(' ')?;
    match direction {
        ">" => Some(Act::Say(parse_word(text, true)?)),
        "<" => Some(Act::Hear(parse_word(text, false)?)),
        _ => None,
    }
}

fn parse_word(text: &str, said: bool) -> Option<Word> {
    let (kind, rest) = text.split_once(' ').unwrap_or((text, ""));
    let frame = |first_octet| Some(Word::Frame(first_octet, unescape(rest)?));
    match kind {
        "open" if said != rest.is_empty() => Some(Word::Open(rest.to_owned())),
        "end" if rest.is_empty() => Some(Word::End),
        "text" => frame(0x81),
        "binary" => frame(0x82),
        "ping" => frame(0x89),
        "pong" => frame(0x8a),
        "close" => {
            let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
            let mut payload = Vec::new();
            if !code.is_empty() {
                payload.extend(code.parse::<u16>().ok()?.to_be_bytes());
                payload.extend(unescape(reason)?);
            }
            Some(Word::Frame(0x88, payload))
        }
        "frame" if said => {
            let (octet, payload) = rest.split_once(' ').unwrap_or((rest, ""));
            let octet = u8::from_str_radix(octet, 16).ok()?;
            Some(Word::Frame(octet, unescape(payload)?))
        }
        "raw" => Some(Word::Raw(unescape(rest)?)),
        method if said && method.bytes().all(|byte| byte.is_ascii_uppercase()) => {
            let (path, body) = rest.split_once(' ').unwrap_or((rest, ""));
            Some(Word::Request {
                method: method.to_owned(),
                path: path.to_owned(),
                body: unescape(body)?,
            })
        }
        status if !said => Some(Word::Answer {
            status: status.parse().ok()?,
            body: unescape(rest)?,
        }),
        _ => None,
    }
}

/// Reads `\n \r \t \\ \xHH \xHH{COUNT}`; everything else is itself.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend(rest.as_bytes()[..at].iter());
        let kind = rest[at + 1..].chars().next()?;
        rest = &rest[at + 1 + kind.len_utf8()..];
        match kind {
            'n' => bytes.push(b'\n'),
            'r' => bytes.push(b'\r'),
            't' => bytes.push(b'\t'),
            '\\' => bytes.push(b'\\'),
            'x' => {
                let byte = u8::from_str_radix(rest.get(..2)?, 16).ok()?;
                rest = &rest[2..];
                let mut count = 1;
                let braces = rest.strip_prefix('{').and_then(|it| it.split_once('}'));
                if let Some((digits, after)) = braces
                    && let Ok(number) = digits.parse()
                {
                    (count, rest) = (number, after);
                }
                bytes.resize(bytes.len() + count, byte);
            }
            _ => return None,
        }
    }
    bytes.extend(rest.as_bytes());
    Some(bytes)
}
