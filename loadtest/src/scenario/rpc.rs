//! `rpc`: calls from one device of an account to another (spec realtime.md §9): request, forward, answer, ack.
//!
//! Each account has one target that registered a method and answers at once; each connection calls the method of its
//! account's target.

use std::rc::Rc;

use crate::client::socket::Scope;
use crate::client::{Account, Failure, Packet, Reader, Sender};
use crate::scenario::drive::{Line, Operation, drive};
use crate::scenario::{Context, GRACE, Scenario, each};
use crate::tally::Recorder;

pub(super) struct Rpc {
    accounts: Rc<[Account]>,
    callers: Vec<Reader>,
}

const METHOD: &str = "loadtest:answer";

impl Scenario for Rpc {
    async fn prepare(context: &Context) -> Result<Self, Failure> {
        Ok(Self { accounts: context.accounts().await?.into(), callers: Vec::new() })
    }

    async fn connect(&mut self, context: &Context) -> Result<(), Failure> {
        let (sources, accounts) = (Rc::clone(&context.sources), Rc::clone(&self.accounts));
        each(accounts.len(), move |number| {
            let (sources, accounts) = (Rc::clone(&sources), Rc::clone(&accounts));
            async move {
                let mut target = Reader::connect(&sources, &accounts[number], &Scope::User).await?;
                let registered = monoio::time::timeout(GRACE, target.register(METHOD)).await;
                registered.map_err(|_| Failure::new("registration was not answered"))??;
                // When it fails, its callers do: their calls are not answered.
                monoio::spawn(answer_calls(target));
                Ok(())
            }
        })
        .await?;
        let (sources, accounts) = (Rc::clone(&context.sources), Rc::clone(&self.accounts));
        self.callers = each(context.own(context.options.connections), move |number| {
            let (sources, accounts) = (Rc::clone(&sources), Rc::clone(&accounts));
            async move { Reader::connect(&sources, &accounts[number % accounts.len()], &Scope::User).await }
        })
        .await?;
        Ok(())
    }

    async fn run(self, context: &Context, recorder: &Recorder) -> Result<(), Failure> {
        let params = "Q".repeat(context.options.message_bytes);
        let call: Rc<str> = format!(r#"{{"method":"{METHOD}","params":"{params}"}}"#).into();
        let lines = self.callers.into_iter().map(|reader| Line { reader, operation: Call { call: Rc::clone(&call) } });
        drive(lines.collect(), context.own_rate(), recorder).await
    }
}

async fn answer_calls(mut target: Reader) -> Result<(), Failure> {
    let sender = Rc::clone(target.sender());
    loop {
        if let Packet::Event { ack: Some(ack), data } = target.next().await?
            && data.starts_with(r#"["rpc-request""#)
        {
            sender.queue_text(&format!(r#"43{ack}["answer"]"#));
            sender.flush().await?;
        }
    }
}

struct Call {
    call: Rc<str>,
}

impl Operation for Call {
    fn begin(&self, sender: &Sender) -> u64 {
        sender.queue_event("rpc-call", Some(&self.call))
    }

    fn answered(&self, data: &str) -> Result<(), Failure> {
        if data == r#"[{"ok":true,"result":"answer"}]"# {
            return Ok(());
        }
        Err(Failure::new(format!("call answered {data}")))
    }
}
