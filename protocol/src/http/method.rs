//! Request methods: the closed set that the reference server's parser knows. Anything else is refused before routing.

use std::fmt;

macro_rules! methods {
    ($($variant:ident $name:literal),+ $(,)?) => {
        /// A request method.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Method {
            $(#[doc = concat!("`", $name, "`")] $variant,)+
        }

        impl Method {
            /// Every method, for tests and tables.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name as it stands in a request line.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// The method of this name. Names are case-sensitive.
            #[must_use]
            pub fn parse(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

methods! {
    Get "GET",
    Post "POST",
    Put "PUT",
    Patch "PATCH",
    Delete "DELETE",
    Head "HEAD",
    Options "OPTIONS",
    Connect "CONNECT",
    Trace "TRACE",
    Acl "ACL",
    Bind "BIND",
    Checkout "CHECKOUT",
    Copy "COPY",
    Link "LINK",
    Lock "LOCK",
    MSearch "M-SEARCH",
    Merge "MERGE",
    MkActivity "MKACTIVITY",
    MkCalendar "MKCALENDAR",
    MkCol "MKCOL",
    Move "MOVE",
    Notify "NOTIFY",
    PropFind "PROPFIND",
    PropPatch "PROPPATCH",
    Purge "PURGE",
    Query "QUERY",
    Rebind "REBIND",
    Report "REPORT",
    Search "SEARCH",
    Source "SOURCE",
    Subscribe "SUBSCRIBE",
    Unbind "UNBIND",
    Unlink "UNLINK",
    Unlock "UNLOCK",
    Unsubscribe "UNSUBSCRIBE",
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Method;

    #[test]
    fn names_round_trip() {
        assert_eq!(Method::ALL.len(), 35);
        for &method in Method::ALL {
            assert_eq!(Method::parse(method.as_str()), Some(method));
            assert_eq!(Method::parse(&method.as_str().to_ascii_lowercase()), None);
        }
        assert_eq!(Method::parse(""), None);
        assert_eq!(Method::parse("BREW"), None);
        assert_eq!(Method::parse("PRI"), None);
    }
}
