//! What is served without a config file: every language, and in each that has words for it, enough
//! for two strangers to chat.

use std::collections::BTreeMap;

use super::{Action, ChannelSetting, CommandSetting, DialectName, PublishTo, ReplyData, Route};

/// The routes of the default config, in the order in which they are printed.
pub(super) fn default_routes() -> Vec<Route> {
    vec![
        Route {
            playground_path: playground("ws"),
            push_path: Some("/push".to_owned()),
            drop_path: Some("/drop".to_owned()),
            ..Route::new("/ws", DialectName::Wserver)
        },
        // Its messages have no command and name no channel.
        Route {
            commands: named([("", publish(Some(LOBBY)))]),
            join_on_open: vec![LOBBY.to_owned()],
            ..Route::new("/edk", DialectName::Edk)
        },
        Route {
            commands: chat(),
            playground_path: playground("wsrv"),
            ..Route::new("/wsrv", DialectName::Wsrv)
        },
        // Its clients may be only on channels that are declared, and hear of those that are not.
        Route {
            commands: chat(),
            channels: vec![ChannelSetting::new("room*")],
            playground_path: playground("easyws"),
            ..Route::new("/easyws", DialectName::Easyws)
        },
        Route {
            commands: chat(),
            playground_path: playground("projectforge"),
            ..Route::new("/projectforge", DialectName::Projectforge)
        },
        Route::new("/echo", DialectName::Echo),
    ]
}

/// Where a page to try a route is served. There is none for `edk`, since a browser cannot send the
/// header that names its user.
fn playground(name: &str) -> Option<String> {
    Some(format!("/playground/{name}"))
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
