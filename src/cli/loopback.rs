//! Addresses on this machine for the parts of a sample site.

use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

/// Addresses on loopback on which nothing listens, and which the system gives nobody else for the next minute (60 s on
/// Linux): a site's parts are started one after the other, and another site may be made meanwhile.
///
/// A connection to each is made and ended from its side. Its port is in TIME-WAIT then (RFC 9293, 3.6.1), which is chosen for
/// nobody; who asks for it by number, with `SO_REUSEADDR` as listeners have it, may listen on it.
///
/// # Errors
/// When this machine has no loopback or no free port.
pub fn reserve<const N: usize>() -> io::Result<[SocketAddr; N]> {
    let listeners: Vec<TcpListener> =
        (0..N).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    for (address, listener) in addresses.iter_mut().zip(&listeners) {
        *address = listener.local_addr()?;
        let mut client = TcpStream::connect(*address)?;
        let (server, _) = listener.accept()?;
        drop(server);
        client.read_to_end(&mut Vec::new())?;
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_sites_have_an_address_in_common_and_each_can_listen_on_its_own() {
        let sites: Vec<[SocketAddr; 9]> = (0..200).map(|_| reserve().expect("there are ports")).collect();
        let distinct: BTreeSet<SocketAddr> = sites.iter().flatten().copied().collect();
        assert_eq!(distinct.len(), 200 * 9);
        for address in &sites[0] {
            assert!(TcpStream::connect(address).is_err(), "nothing listens on {address}");
        }
        let opened: Vec<TcpListener> =
            sites[0].iter().map(|address| TcpListener::bind(address).expect("it may listen")).collect();
        assert_eq!(opened.len(), 9);
    }
}
