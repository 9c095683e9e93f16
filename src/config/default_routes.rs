//! What is served without a config file: every language, and in each that has words for it, enough
//! for two strangers to chat.

use std::collections::BTreeMap;

use super::{Action, ChannelSetting, CommandSetting, DialectName, PublishTo, ReplyData, Route};

/// The routes of the default config, in the order in which they are printed.
pub(super) fn default_routes() -> Vec<Route> {
    vec![
        Route {
            playground_path: Some("/playground/ws".to_owned()),
            push_path: Some("/push".to_owned()),
            drop_path: Some("/drop".to_owned()),
            ..Route::new("/ws", DialectName::Wserver)
        },
        // Its messages have no command and name no channel, and no page can send its header.
        Route {
            commands: named([("", publish(Some(LOBBY)))]),
            join_on_open: vec![LOBBY.to_owned()],
            ..Route::new("/edk", DialectName::Edk)
        },
        Route {
            playground_path: Some("/playground/wsrv".to_owned()),
            commands: chat(),
            ..Route::new("/wsrv", DialectName::Wsrv)
        },
        // Its clients may be only on channels that are declared, and hear of those that are not.
        Route {
            playground_path: Some("/playground/easyws".to_owned()),
            commands: chat(),
            channels: vec![ChannelSetting::new("room*")],
            ..Route::new("/easyws", DialectName::Easyws)
        },
        Route {
            playground_path: Some("/playground/projectforge".to_owned()),
            commands: chat(),
            ..Route::new("/projectforge", DialectName::Projectforge)
        },
        Route::new("/echo", DialectName::Echo),
    ]
}

/// Whatever a chat needs, and a first thing to say.
fn chat() -> BTreeMap<String, CommandSetting> {
    let world = ReplyData::Text("world".to_owned());
    named([
        ("echo", Action::Echo),
        ("join", Action::Join { channel: None }),
        ("leave", Action::Leave { channel: None }),
        ("publish", publish(None)),
        ("hello", Action::Reply { data: world }),
    ])
}

fn publish(channel: Option<&str>) -> Action {
    Action::Publish {
        channel: channel.map(ToOwned::to_owned),
        event: None,
        to: PublishTo::All,
    }
}

fn named<const N: usize>(commands: [(&str, Action); N]) -> BTreeMap<String, CommandSetting> {
    let commands = commands.into_iter();
    commands
        .map(|(name, action)| (name.to_owned(), CommandSetting::new(action)))
        .collect()
}

const LOBBY: &str = "lobby";
