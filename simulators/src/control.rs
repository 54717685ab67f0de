//! A port that takes orders while the simulators run: one fault a line, answered by a line.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::config::Error;
use crate::lab::Shared;

/// Longest line.
const LINE_MAX: u64 = 1024;

/// Listens at an address; gives the actual one.
pub(crate) async fn listen(address: &str, shared: &Shared) -> Result<String, Error> {
    let refused = |error: std::io::Error| Error::Address {
        address: address.to_owned(),
        reason: error.to_string(),
    };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let actual = listener.local_addr().map_err(refused)?.to_string();
    let shared = shared.clone();
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            };
            let _ = stream.set_nodelay(true);
            tokio::spawn(take_orders(stream, shared.clone()));
        }
    });
    Ok(actual)
}

async fn take_orders(stream: TcpStream, shared: Shared) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read);
    loop {
        let mut line = String::new();
        if (&mut lines).take(LINE_MAX).read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let answer = match line.trim() {
            "" => continue,
            order => match shared.order(order) {
                Ok(()) => "ok\n".to_owned(),
                Err(why) => format!("refused: {why}\n"),
            },
        };
        write.write_all(answer.as_bytes()).await?;
    }
}
