//! A thousand pods in which something hostile listens, beside one honest server.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    fs,
    future::pending,
    net::Ipv4Addr,
    sync::atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use chaos::postgres::{Server, Setup};
use http::{Request, Response};
use http_body_util::Full;
use kube::{Client, client::Body};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shared::route::{Tls, TlsMode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use tower::service_fn;

use super::*;

const INTERVAL: Duration = Duration::from_millis(100);
const TIMEOUT: Duration = Duration::from_millis(500);

/// Pods in which something hostile listens.
const HOSTILE: usize = 1000;

/// Each half of the test lasts for so many beats of a metronome that beats at the probes' interval.
const BEATS: usize = 30;

/// The test's own end of a connection, the other end, and something for everything else.
const FILES: u64 = 4 * HOSTILE as u64;

/// What the second half may take more than the first: far less than a few bytes kept of each answer would come to.
const GROWTH_KIB_MAX: u64 = 32 * 1024;

/// Far beyond what anything here takes.
const LIMIT: Duration = Duration::from_mins(5);

/// What is done to a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hostility {
    NeverSpeaks,
    SpeaksAByteASecond,
    TalksNonsense,
    SendsAHugeRow,
    NeverStopsGivingNotice,
    ClosesInTheMiddle,
    StallsTls,
}

const HOSTILITIES: [Hostility; 7] = [
    Hostility::NeverSpeaks,
    Hostility::SpeaksAByteASecond,
    Hostility::TalksNonsense,
    Hostility::SendsAHugeRow,
    Hostility::NeverStopsGivingNotice,
    Hostility::ClosesInTheMiddle,
    Hostility::StallsTls,
];

impl Hostility {
    const fn of(pod: usize) -> Self {
        HOSTILITIES[pod % HOSTILITIES.len()]
    }
}

/// The address of a hostile pod; which one it is can be read from it.
fn address(pod: usize) -> Ipv4Addr {
    let [.., high, low] = u32::try_from(pod).expect("few").to_be_bytes();
    Ipv4Addr::new(127, 1, high, low)
}

fn pod_at(ip: IpAddr) -> Option<usize> {
    match ip {
        IpAddr::V4(ip) => {
            let [_, 1, high, low] = ip.octets() else { return None };
            Some(usize::from(u16::from_be_bytes([high, low])))
        }
        IpAddr::V6(_) => None,
    }
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    [
        &[tag][..],
        &u32::try_from(body.len() + 4).expect("short").to_be_bytes(),
        body,
    ]
    .concat()
}

/// Treats one probe as badly as it can, for as long as the probe bears it.
async fn treat(mut stream: TcpStream, hostility: Hostility) -> std::io::Result<()> {
    let mut heard = [0; 4096];
    // The probe speaks first; how much of it comes at once does not matter.
    let _heard = stream.read(&mut heard).await?;
    let welcome = [message(b'R', &[0; 4]), message(b'Z', b"I")].concat();
    match hostility {
        Hostility::NeverSpeaks => {}
        Hostility::SpeaksAByteASecond => {
            let mut second = interval(Duration::from_secs(1));
            for byte in welcome {
                second.tick().await;
                stream.write_all(&[byte]).await?;
            }
        }
        Hostility::TalksNonsense => stream.write_all(&[0xA5; 512]).await?,
        Hostility::SendsAHugeRow => {
            stream.write_all(&welcome).await?;
            let _heard = stream.read(&mut heard).await?;
            stream.write_all(&[b'D', 0x3F, 0xFF, 0xFF, 0xFF]).await?;
            loop {
                stream.write_all(&[b'x'; 4096]).await?;
            }
        }
        Hostility::NeverStopsGivingNotice => {
            stream.write_all(&message(b'R', &[0; 4])).await?;
            let notice = message(b'N', &[&b"SNOTICE\0C00000\0M"[..], &[b'x'; 4000], b"\0\0"].concat());
            loop {
                stream.write_all(&notice).await?;
            }
        }
        Hostility::ClosesInTheMiddle => return stream.write_all(&welcome[..welcome.len() - 3]).await,
        Hostility::StallsTls => stream.write_all(b"S").await?,
    }
    while stream.read(&mut heard).await? > 0 {}
    Ok(())
}

/// Listens for all hostile pods at once.
async fn be_hostile(listener: TcpListener) {
    let mut streams = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let here = stream.local_addr().expect("a connection has two ends").ip();
        let hostility = Hostility::of(pod_at(here).expect("an address of these"));
        streams.spawn(treat(stream, hostility));
        while streams.try_join_next().is_some() {}
    }
}

fn assignment(route: &str, pod: String, ip: IpAddr, port: u16, mode: TlsMode) -> Assignment {
    let key = |text: &str| RouteKey {
        namespace: "default".to_owned(),
        name: text.to_owned(),
    };
    Assignment {
        route: key(route),
        pod: PodKey {
            uid: format!("uid-{pod}"),
            name: pod,
        },
        ip,
        port,
        connection: Connection {
            user: "postgres".to_owned(),
            database: "postgres".to_owned(),
            password_secret: None,
            tls: Tls { mode, ..Tls::default() },
        },
        interval: INTERVAL,
        timeout: TIMEOUT,
    }
}

fn surroundings(out: mpsc::Sender<Seen>) -> Surroundings {
    let host = Host::real();
    // No route here names a Secret: nothing is ever asked of the API server.
    let nobody = service_fn(|_: Request<Body>| pending::<Result<Response<Full<Bytes>>, Infallible>>());
    let client = Client::new(nobody, "default");
    Surroundings {
        credentials: Arc::new(Credentials::new(client, Arc::clone(&host.clock))),
        host,
        metrics: Arc::new(Metrics::new()),
        out,
    }
}

/// Memory in use, as the kernel counts it.
fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux says so");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let count = line.and_then(|line| line.split_whitespace().next());
    count.and_then(|count| count.parse().ok()).expect("a number of KiB")
}

fn allow_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < FILES) {
        let wanted = Rlimit {
            current: Some(FILES),
            ..limit
        };
        setrlimit(Resource::Nofile, wanted).expect("the hard limit of open files allows this test");
    }
}

/// What has been seen so far.
#[derive(Default)]
struct Tally {
    honest: usize,
    hostile: BTreeSet<usize>,
}

impl Tally {
    fn count(&mut self, seen: &Seen) {
        let evidence = seen.sighting.evidence;
        match pod_at(seen.sighting.ip) {
            None => self.honest += usize::from(evidence == Evidence::Writable),
            Some(pod) => {
                let hostility = Hostility::of(pod);
                assert!(
                    matches!(evidence, Evidence::Silent | Evidence::Unclear),
                    "{hostility:?} was taken for {evidence:?}: {}",
                    seen.sighting.detail
                );
                self.hostile.insert(pod);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "counts its own memory: `make check` runs it alone"]
async fn a_thousand_hostile_pods_slow_no_other_pods_probe_and_fill_no_memory() {
    allow_files();
    let server = Server::primary(Setup::default().hba("host all postgres 127.0.0.1/32 trust"))
        .await
        .expect("PostgreSQL is installed");
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))
        .await
        .expect("a free port");
    let port = listener.local_addr().expect("it listens").port();
    let (out, mut seen) = mpsc::channel(4096);
    let surroundings = surroundings(out);
    let (_steady, pace) = watch::channel(Pace::Steady);

    let mut tasks = JoinSet::new();
    tasks.spawn(be_hostile(listener));
    let honest = assignment(
        "honest",
        "honest".to_owned(),
        server.address().ip(),
        server.address().port(),
        TlsMode::Disable,
    );
    tasks.spawn(run(honest, surroundings.clone(), pace.clone()));
    for pod in 0..HOSTILE {
        let (route, mode) = if Hostility::of(pod) == Hostility::StallsTls {
            ("encrypted", TlsMode::Require)
        } else {
            ("plain", TlsMode::Disable)
        };
        let hostile = assignment(route, format!("hostile-{pod}"), address(pod).into(), port, mode);
        tasks.spawn(run(hostile, surroundings.clone(), pace.clone()));
    }

    // On a busy host everything is slow, the metronome too: that is what the probe is compared with.
    let beats = Arc::new(AtomicUsize::new(0));
    let beating = Arc::clone(&beats);
    tasks.spawn(async move {
        let mut metronome = interval(INTERVAL);
        metronome.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            metronome.tick().await;
            beating.fetch_add(1, Ordering::Relaxed);
        }
    });

    let mut tally = Tally::default();
    let mut watch = async |until: &dyn Fn(&Tally) -> bool| {
        tally.honest = 0;
        let begun = beats.load(Ordering::Relaxed);
        while !until(&tally) {
            let next = timeout(LIMIT, seen.recv()).await.expect("something is always seen");
            tally.count(&next.expect("the probes run"));
        }
        (tally.honest, beats.load(Ordering::Relaxed) - begun)
    };
    watch(&|tally| tally.hostile.len() == HOSTILE && tally.honest > 0).await;
    let mut resident = Vec::new();
    for _half in 0..2 {
        let end = beats.load(Ordering::Relaxed) + BEATS;
        let (answers, beats) = watch(&|_| beats.load(Ordering::Relaxed) >= end).await;
        resident.push(resident_kib());
        println!("{answers} answers of the honest server in {beats} intervals, {resident:?} KiB");
        assert!(answers * 2 >= beats, "{answers} answers in {beats} intervals");
    }
    assert!(resident[1] <= resident[0] + GROWTH_KIB_MAX, "{resident:?} KiB");
}
