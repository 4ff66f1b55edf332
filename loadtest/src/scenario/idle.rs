//! `idle`: authenticated connections that do nothing but answer the heartbeat.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::client::socket::Scope;
use crate::client::{Account, Failure, Reader};
use crate::scenario::{Context, Scenario, each, sleep_until};
use crate::tally::Recorder;

pub(super) struct Idle {
    accounts: Rc<[Account]>,
    observed: Rc<Observed>,
}

#[derive(Default)]
struct Observed {
    open: Cell<u64>,
    pings_answered: Cell<u64>,
    lost: RefCell<BTreeMap<String, u64>>,
}

impl Scenario for Idle {
    async fn prepare(context: &Context) -> Result<Self, Failure> {
        let accounts = if context.options.raw { Vec::new() } else { context.accounts().await? };
        Ok(Self { accounts: accounts.into(), observed: Rc::default() })
    }

    async fn connect(&mut self, context: &Context) -> Result<(), Failure> {
        let (sources, accounts) = (Rc::clone(&context.sources), Rc::clone(&self.accounts));
        let observed = Rc::clone(&self.observed);
        each(context.own(context.options.connections), move |number| {
            let (sources, accounts, observed) = (Rc::clone(&sources), Rc::clone(&accounts), Rc::clone(&observed));
            async move {
                let reader = if accounts.is_empty() {
                    Reader::connect_raw_used(&sources).await?
                } else {
                    Reader::connect(&sources, &accounts[number % accounts.len()], &Scope::User).await?
                };
                monoio::spawn(hold(reader, observed));
                Ok(())
            }
        })
        .await?;
        Ok(())
    }

    async fn run(self, _context: &Context, recorder: &Recorder) -> Result<(), Failure> {
        sleep_until(recorder.window.closes).await;
        recorder.add("connections open at the end", self.observed.open.get());
        recorder.add("pings answered", self.observed.pings_answered.get());
        for (text, times) in self.observed.lost.take() {
            recorder.tally.borrow_mut().fail_times(text, times);
        }
        Ok(())
    }
}

async fn hold(mut reader: Reader, observed: Rc<Observed>) {
    observed.open.set(observed.open.get() + 1);
    let failure = loop {
        let before = reader.pings_answered();
        match reader.next().await {
            Ok(_) => {}
            Err(failure) => break failure,
        }
        observed.pings_answered.set(observed.pings_answered.get() + reader.pings_answered() - before);
    };
    observed.open.set(observed.open.get() - 1);
    *observed.lost.borrow_mut().entry(failure.to_string()).or_default() += 1;
}
