//! What blocks and is no database: pools of threads, the HTTP client, the storage of public files; and every core's end
//! of it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::error::Error;
use crate::config::{Backend, Config};
use crate::observe::metrics::CoreMetrics;
use crate::runtime::pool::{Pool, Workers};
use crate::runtime::post::CorePost;
use crate::storage::objects::local::Directory;
use crate::storage::objects::s3::Bucket;
use crate::storage::objects::{Files, Store};
use crate::storage::static_files::StaticFiles;
use crate::vendors::https::{Client, Https};
use crate::vendors::{Addresses, Vendors};

/// Threads that wait for other services. So many calls to a service that does not answer are let wait for each other.
const CALL_THREADS: usize = 8;
/// With the default time-out the last of them would wait for five minutes; more would be of no use to anybody.
const CALLS_WAITING_MAX: usize = 256;

/// Threads that read and write public files, on a disk or over the network.
const FILE_THREADS: usize = 4;
const FILES_WAITING_MAX: usize = 1_024;

/// Threads that read the web UI, apart from those for public files, which may be waiting for an object storage.
const UI_THREADS: usize = 2;
/// A connection waits for at most one piece of a file.
const UI_WAITING_MAX: usize = 4_096;

/// One: decoding images may keep one core of the machine busy, and takes the memory of one image at a time.
const IMAGE_THREADS: usize = 1;
/// Each holds the bytes of a file, at most `vendors::github::AVATAR_BYTES_MAX`.
const IMAGES_WAITING_MAX: usize = 16;

/// The back plane as the process holds it.
#[derive(Clone)]
pub(super) struct BackPlane {
    calls: Arc<Pool>,
    files: Arc<Pool>,
    images: Arc<Pool>,
    ui: Option<(Arc<Path>, Arc<Pool>)>,
    client: Arc<Client>,
    store: Option<Store>,
    addresses: Addresses,
    timeout: Duration,
}

impl BackPlane {
    /// Starts the threads, and asks the object storage whether it can be used. Blocks.
    pub(super) fn start(config: &Config) -> Result<Self, Error> {
        let client = Arc::new(Client::default());
        let store = match &config.backend {
            Backend::Light(light) => {
                let failed = |error| Error::Files { directory: light.files_dir.clone(), error };
                Some(Store::Directory(Arc::new(Directory::open(&light.files_dir).map_err(failed)?)))
            }
            Backend::Full(full) => match &full.object_storage {
                Some(settings) => {
                    let bucket = Bucket::open(Arc::clone(&client), settings).map_err(Error::ObjectStorage)?;
                    log::info!("public files go to the bucket {} in {}", settings.bucket, bucket.region());
                    Some(Store::Bucket(Arc::new(bucket)))
                }
                None => None,
            },
        };
        let pools = || -> io::Result<_> {
            let calls = Pool::start("calls", CALL_THREADS, CALLS_WAITING_MAX)?;
            let files = Pool::start("files", FILE_THREADS, FILES_WAITING_MAX)?;
            let images = Pool::start("images", IMAGE_THREADS, IMAGES_WAITING_MAX)?;
            let ui = match &config.ui {
                Some(ui) => Some((Arc::from(ui.directory.as_path()), Pool::start("ui", UI_THREADS, UI_WAITING_MAX)?)),
                None => None,
            };
            Ok((calls, files, images, ui))
        };
        let (calls, files, images, ui) = pools().map_err(Error::Cores)?;
        let services = &config.services;
        let addresses = Addresses {
            github: services.github_url.clone(),
            github_api: services.github_api_url.clone(),
            revenuecat: services.revenuecat_url.clone(),
            elevenlabs: services.elevenlabs_url.clone(),
        };
        let timeout = Duration::from_millis(services.call_timeout_ms);
        Ok(Self { calls, files, images, ui, client, store, addresses, timeout })
    }

    /// The end of one core. `post` leads back to that core.
    pub(super) fn on_core(self, post: &Arc<dyn CorePost>, metrics: &Arc<CoreMetrics>) -> CoreEnd {
        let workers = |pool| Workers::new(pool, Arc::clone(post), Arc::clone(metrics));
        CoreEnd {
            files: self.store.map(|store| Files::new(store, workers(self.files))),
            vendors: Vendors {
                https: Https::new(self.client, workers(self.calls), self.timeout),
                addresses: self.addresses,
            },
            image_workers: workers(self.images),
            ui: self.ui.map(|(root, pool)| StaticFiles::new(root, workers(pool))),
        }
    }
}

/// What a core's rules use of the back plane.
pub(super) struct CoreEnd {
    pub files: Option<Files>,
    pub vendors: Vendors,
    pub image_workers: Workers,
    /// Set if there is a web UI.
    pub ui: Option<StaticFiles>,
}
