//! `connect`: a websocket from TCP connect over CONNECT with token to the closing handshake, again and again.

use std::rc::Rc;

use crate::client::socket::Scope;
use crate::client::{Account, Failure, Reader, Sources};
use crate::scenario::jobs::Jobs;
use crate::scenario::{Context, Group, Scenario};
use crate::tally::Recorder;

pub(super) struct Connect {
    accounts: Vec<Account>,
}

impl Scenario for Connect {
    async fn prepare(context: &Context) -> Result<Self, Failure> {
        Ok(Self { accounts: context.accounts().await? })
    }

    async fn connect(&mut self, _context: &Context) -> Result<(), Failure> {
        Ok(())
    }

    async fn run(self, context: &Context, recorder: &Recorder) -> Result<(), Failure> {
        let jobs = Jobs::new(context.own_rate(), recorder);
        let group = Group::default();
        for number in 0..context.own(context.options.connections) {
            let account = self.accounts[number % self.accounts.len()].clone();
            group.spawn(churn(Rc::clone(&context.sources), account, Rc::clone(&jobs), recorder.clone()));
        }
        jobs.pace().await?;
        group.finished(recorder).await;
        if group.unfinished.get() > 0 {
            recorder.fail(&Failure::new("connections that did not end"));
        }
        Ok(())
    }
}

async fn churn(sources: Rc<Sources>, account: Account, jobs: Rc<Jobs>, recorder: Recorder) {
    while let Some(began) = jobs.next().await {
        match once(&sources, &account).await {
            Ok(()) => {
                recorder.operation(began);
            }
            Err(failure) => recorder.fail(&failure),
        }
    }
}

async fn once(sources: &Sources, account: &Account) -> Result<(), Failure> {
    let reader = Reader::connect(sources, account, &Scope::User).await?;
    reader.close().await.map_err(|failure| failure.during("closing"))
}
