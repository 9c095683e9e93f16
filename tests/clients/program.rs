//! The embedded gateway for the scripts: all dialects with a few handlers.

use campanile::config::{Config, PushFrame, Route, Schema, Tokens};
use campanile::dialect::easyws::Easyws;
use campanile::dialect::echo::Echo;
use campanile::dialect::edk::Edk;
use campanile::dialect::projectforge::Projectforge;
use campanile::dialect::wserver::Wserver;
use campanile::dialect::wsrv::Wsrv;
use campanile::gateway::Gateway;
use campanile::handler::{Joining, projectforge};
use campanile::{Context, Failure, Message, Reply, Setup};
use serde::Deserialize;
use std::num::NonZeroU8;
use std::rc::Rc;
use tokio::sync::Notify;

/// Starts a gateway with two shards on a free port.
pub(crate) fn start() -> Gateway {
    let config = Config {
        listen: ([127, 0, 0, 1], 0).into(),
        shards: NonZeroU8::new(2),
        pin: false,
        routes: routes(),
        ..Config::default()
    };
    let builder = Gateway::builder(config).shard(|setup| {
        set_up_edk(setup);
        set_up_wsrv(setup);
        set_up_easyws(setup);
        set_up_projectforge(setup);
    });
    builder.start().expect("the config is valid")
}

fn routes() -> Vec<Route> {
    let pairs = ["jack", "jill"].map(|user| (format!("token-of-{user}"), user.to_owned()));
    let edk = |path: &str| Route {
        schema: Schema::Builtin,
        tokens: Some(pairs.iter().cloned().collect::<Tokens>()),
        trust_user_header: Some(false),
        ..Route::new(path, &Edk)
    };
    vec![
        edk("/edk"),
        Route {
            kick_out_new_user_conn: true,
            ..edk("/edk-first")
        },
        Route {
            playground_path: Some("/playground/wsrv".to_owned()),
            ..Route::new("/wsrv", &Wsrv)
        },
        Route {
            push_frame: PushFrame::Text,
            ..Route::new("/wsrv-text", &Wsrv)
        },
        Route::new("/easyws", &Easyws),
        Route::new("/example/socket", &Projectforge),
        Route {
            playground_path: Some("/playground/ws".to_owned()),
            push_path: Some("/push".to_owned()),
            drop_path: Some("/drop".to_owned()),
            ..Route::new("/ws", &Wserver)
        },
        Route::new("/echo", &Echo),
    ]
}

fn set_up_edk(setup: &mut Setup) {
    for path in ["/edk", "/edk-first"] {
        setup
            .route(path)
            .handle("echo", async |cx: Context| {
                Reply::bytes(cx.data().unwrap_or_default().to_owned())
            })
            .handle("notify", async |cx: Context| {
                let user = cx.text().unwrap_or_default();
                let news = format!("for {user}").into_bytes();
                cx.route().push_user(user, Message::bytes("news", news));
            });
    }
}

#[derive(Deserialize)]
struct Sum {
    a: i64,
    b: i64,
}

fn set_up_wsrv(setup: &mut Setup) {
    for path in ["/wsrv", "/wsrv-text"] {
        let released = Rc::new(Notify::new());
        let release = Rc::clone(&released);
        setup
            .route(path)
            .handle("sum", async |cx: Context| -> Result<Reply, Failure> {
                let Sum { a, b } = cx.bind()?;
                Ok(Reply::json(&(a + b))?)
            })
            .handle("repeat", async |cx: Context| {
                Reply::raw_json(cx.data().unwrap_or(b"null").to_owned())
            })
            .handle("notify", async |cx: Context| {
                cx.push(Message::new("news"));
                Reply::ok()
            })
            .handle("wait", move |_| {
                let released = Rc::clone(&released);
                async move {
                    released.notified().await;
                    Reply::ok()
                }
            })
            .handle("release", move |_| {
                let release = Rc::clone(&release);
                async move {
                    // This handler finishes before the other continues.
                    release.notify_one();
                    Reply::ok()
                }
            });
    }
}

fn set_up_easyws(setup: &mut Setup) {
    setup
        .route("/easyws")
        .handle("open", async |cx: Context| {
            let id = cx.text().unwrap_or_default();
            Reply::text(format!("Hello {id}")).with_event("welcome")
        })
        .handle("echo", async |cx: Context| cx.text().map(Reply::text))
        .handle("thank", async |cx: Context| {
            let thanks = Message::text("thanks", "Thank you for listening!");
            cx.publish("test", thanks);
        })
        .handle("whisper", async |cx: Context| {
            let wanted = cx.text().unwrap_or_default();
            let sessions = cx.route().sessions().await?;
            let mut sessions = sessions.iter().map(|session| session.id);
            let found = sessions.find(|id| id.to_string() == wanted);
            let id = found.ok_or_else(|| Failure::error("no such session"))?;
            let text = "This message is only sent to a single client";
            cx.route().push_session(id, Message::text("direct", text));
            Ok::<(), Failure>(())
        })
        .channel("test")
        .channel_with("restricted", async |joining: Joining| {
            match joining.token.as_deref() {
                Some("valid") => Ok(()),
                _ => Err(Failure::error("the token is not valid")),
            }
        });
}

fn set_up_projectforge(setup: &mut Setup) {
    setup
        .route("/example/socket")
        .handle("echo", projectforge::echo)
        .handle("say", async |cx: Context| -> Result<(), Failure> {
            let number: u32 = cx.bind()?;
            cx.publish(cx.channel(), Message::json("said", &number)?);
            Ok(())
        })
        .handle("join", async |cx: Context| {
            cx.join(cx.channel()).await.map(drop)
        })
        .handle("leave", async |cx: Context| {
            cx.leave(cx.channel()).await.map(drop)
        })
        .handle("quit", async |cx: Context| {
            projectforge::request_close(cx.route(), cx.session_id());
        });
}
