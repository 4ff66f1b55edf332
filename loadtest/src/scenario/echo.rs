//! `echo`: the `ping` event with ack (spec realtime.md §8.10), the cheapest thing the server does for a socket.

use std::rc::Rc;

use crate::client::socket::Scope;
use crate::client::{Account, Failure, Reader, Sender};
use crate::scenario::drive::{Line, Operation, drive};
use crate::scenario::{Context, Scenario, each};
use crate::tally::Recorder;

pub(super) struct Echo {
    accounts: Rc<[Account]>,
    readers: Vec<Reader>,
}

impl Scenario for Echo {
    async fn prepare(context: &Context) -> Result<Self, Failure> {
        let accounts = if context.options.raw { Vec::new() } else { context.accounts().await? };
        Ok(Self { accounts: accounts.into(), readers: Vec::new() })
    }

    async fn connect(&mut self, context: &Context) -> Result<(), Failure> {
        let (sources, accounts) = (Rc::clone(&context.sources), Rc::clone(&self.accounts));
        self.readers = each(context.own(context.options.connections), move |number| {
            let (sources, accounts) = (Rc::clone(&sources), Rc::clone(&accounts));
            async move {
                if accounts.is_empty() {
                    return Reader::connect_raw(&sources);
                }
                Reader::connect(&sources, &accounts[number % accounts.len()], &Scope::User).await
            }
        })
        .await?;
        Ok(())
    }

    async fn run(self, context: &Context, recorder: &Recorder) -> Result<(), Failure> {
        let lines = self.readers.into_iter().map(|reader| Line { reader, operation: Ping }).collect();
        drive(lines, context.own_rate(), recorder).await
    }
}

struct Ping;

impl Operation for Ping {
    fn begin(&self, sender: &Sender) -> u64 {
        sender.queue_event("ping", None)
    }

    fn answered(&self, data: &str) -> Result<(), Failure> {
        // The raw floor answers without data.
        if data == "[{}]" || data.is_empty() { Ok(()) } else { Err(Failure::new(format!("ping answered {data}"))) }
    }
}
