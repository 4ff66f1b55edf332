//! Which of several servers a socket of an account connects to, so that what one device says must travel between them.

use crate::options::Options;

#[derive(Clone, Copy)]
pub(super) struct Placement {
    servers: usize,
    /// All senders on the first server instead of on each in turn, so that the CPU time of the first is what sending
    /// costs, and that of the others what receiving costs.
    split: bool,
}

impl Placement {
    pub(super) const fn new(options: &Options) -> Self {
        Self { servers: options.servers.len(), split: options.split }
    }

    pub(super) const fn sender(self, account: usize) -> usize {
        if self.split || self.servers < 2 { 0 } else { account % self.servers }
    }

    /// In turn all servers but the one of the sender, if there are others.
    pub(super) const fn receiver(self, account: usize, receiver: usize) -> usize {
        if self.servers < 2 {
            return 0;
        }
        // Accounts begin at different servers; with all senders on the first that takes a turn of its own.
        let turn = if self.split { account + receiver } else { receiver };
        (self.sender(account) + 1 + turn % (self.servers - 1)) % self.servers
    }
}

#[cfg(test)]
mod tests {
    use super::Placement;

    #[test]
    fn receivers_sit_elsewhere() {
        for (servers, split) in (2..5).flat_map(|servers| [(servers, false), (servers, true)]) {
            let placement = Placement { servers, split };
            let mut used = vec![false; servers];
            for (account, receiver) in (0..10).flat_map(|account| (0..6).map(move |receiver| (account, receiver))) {
                let sender = placement.sender(account);
                assert_ne!(placement.receiver(account, receiver), sender);
                assert!(!split || sender == 0);
                used[placement.receiver(account, receiver)] = true;
            }
            assert_eq!(used.iter().filter(|used| **used).count(), if split { servers - 1 } else { servers });
        }
        let alone = Placement { servers: 1, split: true };
        assert_eq!((alone.sender(7), alone.receiver(7, 2)), (0, 0));
    }
}
