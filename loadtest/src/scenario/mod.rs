//! What the load is: one file for each scenario, all in the same three steps.
//!
//! `prepare` makes accounts and sessions, `connect` opens the sockets, `run` loads until the window closes and then
//! waits for what is still owed. The coordinator reads the server's memory between the steps.

mod connect;
mod drive;
mod echo;
mod fanout;
mod http;
mod idle;
mod jobs;
mod messages;
mod mixed;
mod placement;
mod presence;
mod rpc;
mod stamp;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::client::{Account, Failure, Http, Sources};
use crate::options::{Kind, Options, Share, interval};
use crate::tally::Recorder;
use crate::worker::Conversation;

/// How long after the window an answer may still come before it counts as missing.
const GRACE: Duration = Duration::from_secs(10);
/// Logins, session creations and handshakes under way at a time, in each worker.
const SETUP_WIDTH: usize = 32;

trait Scenario: Sized {
    async fn prepare(context: &Context) -> Result<Self, Failure>;
    async fn connect(&mut self, context: &Context) -> Result<(), Failure>;
    async fn run(self, context: &Context, recorder: &Recorder) -> Result<(), Failure>;
}

/// What every scenario may use.
pub(crate) struct Context {
    pub(crate) options: Options,
    pub(crate) share: Share,
    pub(crate) sources: Rc<Sources>,
    /// Tells this run's sessions from those of others on the same server.
    pub(crate) run: u64,
    https: Rc<RefCell<Vec<(Instant, Http)>>>,
}

pub(crate) async fn play(conversation: &mut Conversation, options: Options, share: Share) -> Result<(), Failure> {
    let sources = Rc::new(Sources::new(options.servers.clone(), options.source_addresses, share));
    let run = conversation.await_prepare().await?;
    let context = Context { options, share, sources, run, https: Rc::default() };
    match context.options.kind {
        Kind::Idle => steps::<idle::Idle>(conversation, &context).await,
        Kind::Echo => steps::<echo::Echo>(conversation, &context).await,
        Kind::Connect => steps::<connect::Connect>(conversation, &context).await,
        Kind::Messages => steps::<messages::Messages>(conversation, &context).await,
        Kind::Fanout => steps::<fanout::Fanout>(conversation, &context).await,
        Kind::Rpc => steps::<rpc::Rpc>(conversation, &context).await,
        Kind::Presence => steps::<presence::Presence>(conversation, &context).await,
        Kind::Http => steps::<http::Requests>(conversation, &context).await,
        Kind::Mixed | Kind::Soak => steps::<mixed::Mixed>(conversation, &context).await,
    }
}

async fn steps<S: Scenario>(conversation: &mut Conversation, context: &Context) -> Result<(), Failure> {
    let mut scenario = in_time("preparing", S::prepare(context)).await?;
    conversation.report_prepared();
    conversation.await_connect().await?;
    let connecting: Rc<Cell<bool>> = Rc::new(Cell::new(true));
    monoio::spawn(tell_open(Rc::clone(&context.sources), Rc::clone(&connecting)));
    let connected = in_time("connecting", scenario.connect(context)).await;
    connecting.set(false);
    connected?;
    conversation.report_ready();
    let window = conversation.await_go(context.options.seconds).await?;
    let recorder = Recorder::new(window);
    monoio::spawn(tick(recorder.clone(), interval(&context.options)));
    scenario.run(context, &recorder).await?;
    conversation.report_tally(&recorder.tally.borrow());
    Ok(())
}

/// Tells the coordinator what each interval of the window brought.
async fn tick(recorder: Recorder, interval: Duration) {
    for number in 1_u32.. {
        let due = recorder.window.opens + interval * number;
        if due > recorder.window.closes + Duration::from_millis(1) {
            return;
        }
        sleep_until(due).await;
        let fields = recorder.tally.borrow_mut().interval.take_text();
        Conversation::report_tick(u64::from(number), &fields);
    }
}

async fn tell_open(sources: Rc<Sources>, connecting: Rc<Cell<bool>>) {
    const PAUSE: Duration = Duration::from_millis(200);
    while connecting.get() {
        Conversation::report_open(sources.made());
        monoio::time::sleep(PAUSE).await;
    }
}

/// A server that does not answer ends the run instead of holding it.
async fn in_time<T>(what: &str, step: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    const STEP_MAX: Duration = Duration::from_secs(120);
    match monoio::time::timeout(STEP_MAX, step).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::new(format!("{what} took longer than {} s", STEP_MAX.as_secs()))),
    }
}

impl Context {
    /// This worker's part of a number of things.
    fn own(&self, total: usize) -> usize {
        self.share.of(total)
    }

    /// Its part of the rate; `None` in a closed loop.
    fn own_rate(&self) -> Option<f64> {
        #[allow(clippy::cast_precision_loss, reason = "a handful of processes")]
        self.options.rate.map(|rate| rate / self.share.processes as f64)
    }

    /// Logs this worker's accounts in.
    async fn accounts(&self) -> Result<Vec<Account>, Failure> {
        let (seed, first) = (self.options.seed, self.share.first_of(self.options.accounts));
        let pool = self.http_pool();
        each(self.own(self.options.accounts), move |number| {
            let pool = pool.clone();
            async move {
                let mut http = pool.take()?;
                let account = Account::login(&mut http, seed, first + number).await?;
                pool.give(http);
                Ok(account)
            }
        })
        .await
    }

    /// Creates `count` sessions, session `n` for account `n` modulo the number of accounts.
    async fn sessions(&self, accounts: &[Account], count: usize) -> Result<Vec<String>, Failure> {
        let accounts: Rc<[Account]> = accounts.into();
        let (run, worker, pool) = (self.run, self.share.index, self.http_pool());
        each(count, move |number| {
            let (accounts, pool) = (Rc::clone(&accounts), pool.clone());
            async move {
                let mut http = pool.take()?;
                let tag = format!("load-{run}-{worker}-{number}");
                let session = accounts[number % accounts.len()].create_session(&mut http, &tag).await?;
                pool.give(http);
                Ok(session)
            }
        })
        .await
    }

    fn http_pool(&self) -> HttpPool {
        HttpPool { sources: Rc::clone(&self.sources), idle: Rc::clone(&self.https) }
    }
}

/// Keep-alive connections that nobody uses at the moment.
#[derive(Clone)]
struct HttpPool {
    sources: Rc<Sources>,
    idle: Rc<RefCell<Vec<(Instant, Http)>>>,
}

impl HttpPool {
    fn take(&self) -> Result<Http, Failure> {
        /// Below the time after which servers close idle connections.
        const IDLE_MAX: Duration = Duration::from_secs(30);
        let idle = self.idle.borrow_mut().pop();
        match idle {
            Some((since, http)) if since.elapsed() < IDLE_MAX => Ok(http),
            // Those below it are older still.
            Some(_) => {
                self.idle.borrow_mut().clear();
                Http::connect(&self.sources)
            }
            None => Http::connect(&self.sources),
        }
    }

    /// After a whole response; a connection that failed is dropped instead.
    fn give(&self, http: Http) {
        self.idle.borrow_mut().push((Instant::now(), http));
    }
}

/// Does a job for each number below `count`, a few at a time; the results in the order of the numbers.
async fn each<T, F, J>(count: usize, job: F) -> Result<Vec<T>, Failure>
where
    T: 'static,
    F: Fn(usize) -> J + 'static,
    J: Future<Output = Result<T, Failure>> + 'static,
{
    let (job, next) = (Rc::new(job), Rc::new(Cell::new(0)));
    let results: Rc<RefCell<Vec<Option<T>>>> = Rc::new(RefCell::new((0..count).map(|_| None).collect()));
    let lanes: Vec<_> = (0..SETUP_WIDTH.min(count))
        .map(|_| {
            let (job, next, results) = (Rc::clone(&job), Rc::clone(&next), Rc::clone(&results));
            monoio::spawn(async move {
                while next.get() < count {
                    let number = next.replace(next.get() + 1);
                    match job(number).await {
                        Ok(result) => results.borrow_mut()[number] = Some(result),
                        Err(failure) => {
                            next.set(count);
                            return Err(failure);
                        }
                    }
                }
                Ok(())
            })
        })
        .collect();
    for lane in lanes {
        lane.await?;
    }
    let results = results.take();
    results.into_iter().map(|result| result.ok_or_else(|| Failure::new("setup was given up"))).collect()
}

/// Tasks of a run, with the number of those that have not ended.
#[derive(Clone, Default)]
struct Group {
    unfinished: Rc<Cell<usize>>,
}

impl Group {
    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let unfinished = Rc::clone(&self.unfinished);
        unfinished.set(unfinished.get() + 1);
        monoio::spawn(async move {
            task.await;
            unfinished.set(unfinished.get() - 1);
        });
    }

    /// Waits until all have ended, at most until the grace period after the window is over.
    async fn finished(&self, recorder: &Recorder) {
        wait_until(recorder, || self.unfinished.get() == 0).await;
    }
}

/// Waits for a condition, at most until the grace period after the window is over.
async fn wait_until(recorder: &Recorder, condition: impl Fn() -> bool) {
    const STEP: Duration = Duration::from_millis(5);
    let deadline = recorder.window.closes + GRACE;
    while !condition() && Instant::now() < deadline {
        monoio::time::sleep(STEP).await;
    }
}

async fn sleep_until(moment: Instant) {
    monoio::time::sleep(moment.saturating_duration_since(Instant::now())).await;
}
