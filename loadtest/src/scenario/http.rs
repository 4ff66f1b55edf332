//! `http`: GET requests over keep-alive connections.

use std::rc::Rc;

use crate::client::http::request;
use crate::client::{Failure, Http};
use crate::scenario::jobs::Jobs;
use crate::scenario::{Context, Group, Scenario};
use crate::tally::Recorder;

pub(super) struct Requests {
    connections: Vec<Http>,
}

impl Scenario for Requests {
    async fn prepare(_context: &Context) -> Result<Self, Failure> {
        Ok(Self { connections: Vec::new() })
    }

    async fn connect(&mut self, context: &Context) -> Result<(), Failure> {
        for _ in 0..context.own(context.options.connections) {
            self.connections.push(Http::connect(&context.sources)?);
        }
        Ok(())
    }

    async fn run(self, context: &Context, recorder: &Recorder) -> Result<(), Failure> {
        let jobs = Jobs::new(context.own_rate(), recorder);
        let group = Group::default();
        for http in self.connections {
            group.spawn(requests(http, Rc::clone(&jobs), context.options.path.clone(), recorder.clone()));
        }
        jobs.pace().await?;
        group.finished(recorder).await;
        if group.unfinished.get() > 0 {
            recorder.fail(&Failure::new("requests without response"));
        }
        Ok(())
    }
}

async fn requests(mut http: Http, jobs: Rc<Jobs>, path: String, recorder: Recorder) {
    let mut bytes = request("GET", &path, None, None);
    while let Some(began) = jobs.next().await {
        match http.exchange(bytes).await {
            Ok((response, sent)) => {
                recorder.operation(began);
                if response.status != 200 {
                    recorder.fail(&response.unexpected("request"));
                }
                bytes = sent;
            }
            Err(failure) => {
                recorder.fail(&failure);
                return;
            }
        }
    }
}
