//! Sandboxes: the interface `sandbox`. Each is a container.

use sandbox_broker_sdk::sandbox::{Guest, Page, Spec};
use sandbox_broker_sdk::{Call, Code, Error, SandboxRef, log};
use serde::Deserialize;

use crate::Plugin;
use crate::config::{Config, Pull};
use crate::container::{Create, Entry, Life, PAGE, filter, inspect, page};
use crate::engine::{Answer, Engine, is_id};
use crate::errors::{Asked, short};
use crate::image;
use crate::lease::renew;
use crate::reference::{id, lease, reference, seconds};

impl Guest for Plugin {
    async fn create(call: Call, config: String, spec: Spec) -> Result<SandboxRef, Error> {
        let config = Config::parse(&config)?;
        let engine = Engine::new(&config);
        let lease = seconds(spec.ttl_ms);
        let create = Create::new(&config, &spec, lease)?;
        let image = create.image();
        if config.pull == Pull::Always {
            image::pull(&engine, image, call.deadline_ms).await?;
        }
        let mut made = engine.post_json("/containers/create", &create).await?;
        if config.pull == Pull::Missing && is_missing_image(&made) {
            image::pull(&engine, image, call.deadline_ms).await?;
            made = engine.post_json("/containers/create", &create).await?;
        }
        let Made { id } = made.json(Asked::Create(image))?;
        if !is_id(&id) {
            return Err(Error::new(Code::Internal, "the engine gave a container an unfit id"));
        }
        let started = engine.post(&format!("/containers/{id}/start"), &[]).await?;
        if !started.is_ok() {
            // It would stay for ever: what has not begun does not end.
            if let Err(error) = end(&engine, &id).await {
                log::warn("a container that did not start could not be removed", &[("error", &error.message)]);
            }
            return Err(started.error(Asked::Create(image)));
        }
        Ok(reference(&id, lease))
    }

    async fn connect(_call: Call, config: String, sandbox: SandboxRef, ttl_ms: u64) -> Result<SandboxRef, Error> {
        let config = Config::parse(&config)?;
        let engine = Engine::new(&config);
        let id = id(&sandbox)?;
        let inspected = inspect(&engine, id).await?;
        match inspected.life() {
            Life::Runs => {}
            Life::Sleeps => {
                let woken = engine.post(&format!("/containers/{id}/unpause"), &[]).await?;
                // Somebody else may have been first.
                if !woken.is_ok() && inspect(&engine, id).await?.life() != Life::Runs {
                    return Err(woken.error(Asked::Sandbox(id)));
                }
            }
            Life::Ended => return Err(Error::new(Code::NotFound, format!("sandbox {} has ended", short(id)))),
        }
        renew(&engine, id, lease(&sandbox).or(inspected.lease()), ttl_ms).await
    }

    async fn kill(_call: Call, config: String, sandbox: SandboxRef) -> Result<(), Error> {
        let config = Config::parse(&config)?;
        end(&Engine::new(&config), id(&sandbox)?).await
    }

    async fn list(
        _call: Call,
        config: String,
        labels: Vec<(String, String)>,
        cursor: Option<String>,
    ) -> Result<Page, Error> {
        let config = Config::parse(&config)?;
        let engine = Engine::new(&config);
        let limit = PAGE.to_string();
        let ask = async |before: Option<&str>| {
            let filters = filter(&labels, before);
            engine.get("/containers/json", &[("all", "1"), ("limit", &limit), ("filters", &filters)]).await
        };
        let cursor = cursor.filter(|cursor| is_id(cursor));
        let mut answer = ask(cursor.as_deref()).await?;
        if cursor.is_some() && !answer.is_ok() && is_missing_container(&answer) {
            // The last one of the page before is gone, and the engine does not know what came after it.
            answer = ask(None).await?;
        }
        let (sandboxes, next) = page(answer.json::<Vec<Entry>>(Asked::Engine)?);
        Ok(Page { sandboxes, next })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Made {
    id: String,
}

/// Ends a container with its processes, its disk and its volumes.
async fn end(engine: &Engine<'_>, id: &str) -> Result<(), Error> {
    let answer = engine.delete(&format!("/containers/{id}"), &[("force", "1"), ("v", "1")]).await?;
    let goes = answer.status == 409 && contains(&answer, "already in progress");
    if answer.is_ok() || answer.status == 404 || goes { Ok(()) } else { Err(answer.error(Asked::Sandbox(id))) }
}

fn is_missing_image(answer: &Answer) -> bool {
    answer.status == 404 && contains(answer, "No such image")
}

fn is_missing_container(answer: &Answer) -> bool {
    matches!(answer.status, 404 | 500) && contains(answer, "o such container")
}

fn contains(answer: &Answer, words: &str) -> bool {
    answer.body.windows(words.len()).any(|window| window == words.as_bytes())
}
