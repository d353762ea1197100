//! Where people are sent to sign in, and the way back (protocol reference, section 7.4).

use url::Url;

use super::handshake::set_parameter;
use super::instance::Instance;

/// Which page of Clerk's is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The sign-in page.
    SignIn,
    /// The sign-up page.
    SignUp,
    /// The tasks that a pending session has left, on the sign-in page.
    Tasks,
    /// The same on the sign-up page.
    SignUpTasks,
    /// Where somebody chooses between the sessions of a browser.
    Choose,
}

/// The address of a sign-in page with the way back in `redirect_url`.
///
/// `base` is the public address of the request, `back` where to return to (the request itself in
/// most cases), `dev_browser` the token of a development instance. `None` if no URL comes of the
/// configured address.
pub fn sign_in_url(
    instance: &Instance,
    destination: Destination,
    base: &Url,
    back: Option<&Url>,
    dev_browser: Option<&str>,
) -> Option<Url> {
    let mut target = target(instance, destination, base)?;
    let elsewhere = site(base) != site(&target);
    if let Some(back) = back {
        let mut back = back.clone();
        if elsewhere && instance.satellite.is_some() {
            set_parameter(&mut back, "__clerk_synced", "false");
        }
        // SECURITY: the whole address is one encoded value, and it replaces any `redirect_url`
        // that the page's own address had.
        set_parameter(&mut target, "redirect_url", back.as_str());
    }
    if elsewhere
        && instance.is_development()
        && let Some(browser) = dev_browser
    {
        set_parameter(&mut target, DEV_BROWSER, browser);
    }
    Some(target)
}

const DEV_BROWSER: &str = "__clerk_db_jwt";

/// An address of the operator's, as a redirect of ours goes there: in development another origin is
/// told which browser comes (section 7.6).
pub fn decorated(
    instance: &Instance,
    mut target: Url,
    base: &Url,
    dev_browser: Option<&str>,
) -> Url {
    let named = target.query_pairs().any(|(name, _)| name == DEV_BROWSER);
    let elsewhere = target.origin() != base.origin();
    if let Some(browser) = dev_browser.filter(|_| instance.is_development() && elsewhere && !named)
    {
        target.query_pairs_mut().append_pair(DEV_BROWSER, browser);
    }
    target
}

fn target(instance: &Instance, destination: Destination, base: &Url) -> Option<Url> {
    let portal = instance.key.account_portal();
    let sign_in = instance.sign_in_url.as_deref();
    match destination {
        Destination::SignIn => base
            .join(sign_in.unwrap_or(&format!("{portal}/sign-in")))
            .ok(),
        Destination::Tasks => {
            let page = sign_in.map_or_else(|| format!("{portal}/sign-in"), str::to_owned);
            base.join(&format!("{page}/tasks")).ok()
        }
        Destination::Choose => {
            let mut url = self::target(instance, Destination::SignIn, base)?;
            let path = format!("{}/choose", url.path().trim_end_matches('/'));
            url.set_path(&path);
            Some(url)
        }
        Destination::SignUpTasks => {
            let mut url = self::target(instance, Destination::SignUp, base)?;
            let path = format!("{}/tasks", url.path());
            url.set_path(&path);
            Some(url)
        }
        Destination::SignUp => match (instance.sign_up_url.as_deref(), sign_in) {
            (Some(page), _) => base.join(page).ok(),
            (None, Some(page)) => {
                let mut url = base.join(page).ok()?;
                let path = format!("{}/create", url.path());
                url.set_path(&path);
                Some(url)
            }
            (None, None) => Url::parse(&format!("{portal}/sign-up")).ok(),
        },
    }
}

/// Host and port; the scheme does not count.
fn site(url: &Url) -> (Option<&str>, Option<u16>) {
    (url.host_str(), url.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::instance::{BackendApi, Satellite};
    use crate::core::key::PublishableKey;

    const B: &str = "https://app.example.com/orders?id=7&q=a%20b";
    const B_ENCODED: &str = "https%3A%2F%2Fapp.example.com%2Forders%3Fid%3D7%26q%3Da%2520b";
    const LIVE: &str = "pk_live_Y2xlcmsuZXhhbXBsZS5jb20k";
    const TEST: &str = "pk_test_Zm9vLWJhci0xMy5jbGVyay5hY2NvdW50cy5kZXYk";

    #[derive(Clone, Copy)]
    struct Case {
        key: &'static str,
        sign_in: Option<&'static str>,
        base: &'static str,
        back: Option<&'static str>,
        browser: Option<&'static str>,
        destination: Destination,
        satellite: bool,
    }

    fn case() -> Case {
        Case {
            key: LIVE,
            sign_in: None,
            base: B,
            back: Some(B),
            browser: None,
            destination: Destination::SignIn,
            satellite: false,
        }
    }

    #[track_caller]
    fn assert_goes_to(case: Case, expected: &str) {
        let mut instance = Instance::of(
            PublishableKey::parse(case.key).unwrap(),
            BackendApi::Available,
        );
        instance.sign_in_url = case.sign_in.map(str::to_owned);
        instance.satellite = case.satellite.then_some(Satellite { auto_sync: false });
        let base = Url::parse(case.base).unwrap();
        let back = case.back.map(|back| base.join(back).unwrap());
        let url = sign_in_url(
            &instance,
            case.destination,
            &base,
            back.as_ref(),
            case.browser,
        )
        .unwrap();
        assert_eq!(url.as_str(), expected);
    }

    #[test]
    #[expect(
        clippy::too_many_lines,
        reason = "the table of section 7.4, in its order"
    )]
    fn the_vectors_of_the_protocol_reference() {
        let portal = "https://accounts.example.com";
        assert_goes_to(
            case(),
            &format!("{portal}/sign-in?redirect_url={B_ENCODED}"),
        );
        assert_goes_to(
            Case {
                back: None,
                ..case()
            },
            &format!("{portal}/sign-in"),
        );
        let login = "https://app.example.com/login";
        assert_goes_to(
            Case {
                sign_in: Some("/login"),
                ..case()
            },
            &format!("{login}?redirect_url={B_ENCODED}"),
        );
        assert_goes_to(
            Case {
                sign_in: Some("/login?x=1&redirect_url=zzz"),
                ..case()
            },
            &format!("{login}?x=1&redirect_url={B_ENCODED}"),
        );
        assert_goes_to(
            Case {
                sign_in: Some("/login"),
                back: Some("/after"),
                ..case()
            },
            &format!("{login}?redirect_url=https%3A%2F%2Fapp.example.com%2Fafter"),
        );
        assert_goes_to(
            Case {
                sign_in: Some("/login"),
                back: None,
                ..case()
            },
            login,
        );
        let local = Case {
            key: TEST,
            base: "http://localhost:3000/x",
            back: Some("http://localhost:3000/x"),
            browser: Some("dvb_1"),
            ..case()
        };
        let encoded = "redirect_url=http%3A%2F%2Flocalhost%3A3000%2Fx";
        assert_goes_to(
            local,
            &format!("https://foo-bar-13.accounts.dev/sign-in?{encoded}&__clerk_db_jwt=dvb_1"),
        );
        assert_goes_to(
            Case {
                sign_in: Some("/sign-in"),
                ..local
            },
            &format!("http://localhost:3000/sign-in?{encoded}"),
        );
        assert_goes_to(
            Case {
                sign_in: Some("http://localhost:3001/sign-in"),
                ..local
            },
            &format!("http://localhost:3001/sign-in?{encoded}&__clerk_db_jwt=dvb_1"),
        );
        assert_goes_to(
            Case {
                browser: Some("dvb_1"),
                ..case()
            },
            &format!("{portal}/sign-in?redirect_url={B_ENCODED}"),
        );
        assert_goes_to(
            Case {
                base: "https://sat.com/p?a=1",
                back: Some("https://sat.com/p?a=1"),
                sign_in: Some("https://app.example.com/sign-in"),
                satellite: true,
                ..case()
            },
            "https://app.example.com/sign-in?redirect_url=https%3A%2F%2Fsat.com%2Fp%3Fa%3D1%26__clerk_synced%3Dfalse",
        );
        assert_goes_to(
            Case {
                destination: Destination::Tasks,
                ..case()
            },
            &format!("{portal}/sign-in/tasks?redirect_url={B_ENCODED}"),
        );
        assert_goes_to(
            Case {
                destination: Destination::Tasks,
                sign_in: Some("/login"),
                ..case()
            },
            &format!("{login}/tasks?redirect_url={B_ENCODED}"),
        );
        assert_goes_to(
            Case {
                destination: Destination::SignUp,
                sign_in: Some("/login"),
                ..case()
            },
            &format!("{login}/create?redirect_url={B_ENCODED}"),
        );
        assert_goes_to(
            Case {
                destination: Destination::SignUp,
                ..case()
            },
            &format!("{portal}/sign-up?redirect_url={B_ENCODED}"),
        );
        assert_goes_to(
            Case {
                back: Some("https://app.example.com/é?x=ü&p=a+b%2Bc"),
                ..case()
            },
            &format!(
                "{portal}/sign-in?redirect_url=https%3A%2F%2Fapp.example.com%2F%25C3%25A9%3Fx%3D%25C3%25BC%26p%3Da%2Bb%252Bc"
            ),
        );
    }
}
