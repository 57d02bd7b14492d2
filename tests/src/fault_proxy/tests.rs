use super::*;
use crate::deadline::{self, PATIENCE};
use std::io;
use std::time::Instant;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Somebody who gives back what comes.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await.unwrap_or_default();
                write.shutdown().await.unwrap_or_default();
            });
        }
    });
    address
}

async fn proxy() -> FaultProxy {
    FaultProxy::to(echo().await)
}

async fn connect(proxy: &FaultProxy) -> TcpStream {
    deadline::until("a connection", PATIENCE, async || TcpStream::connect(proxy.address()).await.ok()).await
}

async fn ask(stream: &mut TcpStream, text: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(text).await?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// Reads to the end, or to the reset.
async fn rest(stream: &mut TcpStream) -> (usize, bool) {
    let mut bytes = Vec::new();
    let ended = deadline::soon("an end", stream.read_to_end(&mut bytes)).await.is_ok();
    (bytes.len(), ended)
}

#[tokio::test]
async fn without_a_fault_everything_passes_and_ends_in_order() {
    let proxy = proxy().await;
    let mut stream = connect(&proxy).await;
    let text = vec![7; 300_000];
    let (mut read, mut write) = stream.split();
    let sending = async {
        write.write_all(&text).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut came = Vec::new();
    let (_, ()) = tokio::join!(read.read_to_end(&mut came), sending);
    assert!(came == text);
    assert_eq!((proxy.passed(), proxy.cuts()), (600_000, 0));
}

#[tokio::test]
async fn a_line_that_hangs_takes_connections_and_says_nothing_until_it_is_healed() {
    let proxy = proxy().await;
    let mut old = connect(&proxy).await;
    assert_eq!(ask(&mut old, b"one").await.unwrap(), b"one");
    proxy.hang();
    let passed = proxy.passed();
    let mut fresh = connect(&proxy).await;
    for stream in [&mut old, &mut fresh] {
        stream.write_all(b"two").await.unwrap();
        let silent = tokio::time::timeout(Duration::from_millis(50), stream.read_u8()).await;
        assert!(silent.is_err(), "something came");
    }
    assert_eq!(proxy.passed(), passed);
    proxy.heal();
    for stream in [&mut old, &mut fresh] {
        let mut answer = [0; 3];
        deadline::soon("an answer", stream.read_exact(&mut answer)).await.unwrap();
        assert_eq!(&answer, b"two");
    }
}

#[tokio::test]
async fn a_cut_resets_what_stands_and_a_refusal_what_comes() {
    let proxy = proxy().await;
    let mut stream = connect(&proxy).await;
    assert_eq!(ask(&mut stream, b"one").await.unwrap(), b"one");
    proxy.cut();
    assert_eq!(rest(&mut stream).await, (0, false));
    let mut stream = connect(&proxy).await;
    assert_eq!(ask(&mut stream, b"two").await.unwrap(), b"two");
    proxy.refuse();
    assert_eq!(rest(&mut stream).await, (0, false));
    deadline::until("a refusal", PATIENCE, async || {
        let refused = TcpStream::connect(proxy.address()).await.err()?;
        (refused.kind() == io::ErrorKind::ConnectionRefused).then_some(())
    })
    .await;
    proxy.heal();
    let mut stream = connect(&proxy).await;
    assert_eq!(ask(&mut stream, b"three").await.unwrap(), b"three");
}

#[tokio::test]
async fn a_seed_dooms_connections_after_the_same_bytes_each_time() {
    let proxy = proxy().await;
    let mut runs = Vec::new();
    for _ in 0..2 {
        proxy.cut_each(5, 1000..2000);
        let mut run = Vec::new();
        for _ in 0..5 {
            let before = proxy.passed();
            let mut stream = connect(&proxy).await;
            while ask(&mut stream, &[1; 100]).await.is_ok() {}
            run.push(proxy.passed() - before);
        }
        runs.push(run);
    }
    assert_eq!(runs[0], runs[1]);
    assert!(runs[0].iter().all(|bytes| (1000..2000).contains(bytes)), "{runs:?}");
    assert_eq!(proxy.cuts(), 10);
    assert!(runs[0].windows(2).any(|pair| pair[0] != pair[1]), "{runs:?}");
}

#[tokio::test]
async fn a_late_and_a_slow_line_take_their_time() {
    let proxy = proxy().await;
    let mut stream = connect(&proxy).await;
    proxy.delay(Duration::from_millis(50));
    let start = Instant::now();
    assert_eq!(ask(&mut stream, b"one").await.unwrap(), b"one");
    assert!(start.elapsed() >= Duration::from_millis(100));
    proxy.heal();
    proxy.limit(100_000);
    let start = Instant::now();
    let (mut read, mut write) = stream.split();
    let mut answer = vec![0; 20_000];
    let (sent, came) = tokio::join!(write.write_all(&[2; 20_000]), read.read_exact(&mut answer));
    assert!(sent.is_ok() && came.is_ok());
    // The last piece has arrived before its own pause.
    assert!(start.elapsed() >= Duration::from_millis(150), "{:?}", start.elapsed());
}
