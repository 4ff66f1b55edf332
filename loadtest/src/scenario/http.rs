//! `http`: GET requests over keep-alive connections, with or without a bearer token.

use std::rc::Rc;

use crate::client::http::request;
use crate::client::{Account, Failure, Http};
use crate::scenario::jobs::Jobs;
use crate::scenario::{Context, Group, Scenario};
use crate::tally::Recorder;

pub(super) struct Requests {
    /// Empty unless requests carry a token.
    accounts: Vec<Account>,
    connections: Vec<Http>,
}

impl Scenario for Requests {
    async fn prepare(context: &Context) -> Result<Self, Failure> {
        let accounts = if context.options.authenticated { context.accounts().await? } else { Vec::new() };
        Ok(Self { accounts, connections: Vec::new() })
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
        for (number, http) in self.connections.into_iter().enumerate() {
            let token = self.accounts.get(number % self.accounts.len().max(1)).map(|account| account.token.as_str());
            let bytes = request("GET", &context.options.path, token, None);
            group.spawn(requests(http, bytes, Rc::clone(&jobs), recorder.clone()));
        }
        jobs.pace().await?;
        group.finished(recorder).await;
        if group.unfinished.get() > 0 {
            recorder.fail(&Failure::new("requests without response"));
        }
        Ok(())
    }
}

async fn requests(mut http: Http, mut bytes: Vec<u8>, jobs: Rc<Jobs>, recorder: Recorder) {
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
