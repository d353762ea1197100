use super::*;

fn needs(page: &str, clerk: &str) -> Needs {
    let url = |text: &str| Url::parse(text).unwrap();
    Needs {
        page: url(page),
        scripts: vec![
            url(&format!(
                "{clerk}/npm/@clerk/clerk-js@6.29.3/dist/clerk.browser.js"
            )),
            url(&format!("{page}/_gate/inject/start.js?v=1")),
        ],
        connections: vec![
            url(&format!("{clerk}/v1/environment")),
            url(&format!("{clerk}/v1/client")),
        ],
    }
}

fn usual() -> Needs {
    needs("https://app.example.com", "https://clerk.example.com")
}

const ALLOWED: Result<(), Blocked> = Ok(());
const SCRIPT: Result<(), Blocked> = Err(Blocked::Script);
const CONNECTION: Result<(), Blocked> = Err(Blocked::Connection);
const WORKER: Result<(), Blocked> = Err(Blocked::Worker);
const SANDBOX: Result<(), Blocked> = Err(Blocked::Sandbox);
const TRUSTED: Result<(), Blocked> = Err(Blocked::TrustedTypes);
const UNREADABLE: Result<(), Blocked> = Err(Blocked::Unreadable);

/// Policies as pages have them, those of Clerk's documents and of large sites among them.
const POLICIES: &[(&str, Result<(), Blocked>)] = &[
    // Nothing that is about scripts.
    ("", ALLOWED),
    (" ; ;; ", ALLOWED),
    ("frame-ancestors 'none'", ALLOWED),
    (
        "upgrade-insecure-requests; block-all-mixed-content",
        ALLOWED,
    ),
    ("object-src 'none'; base-uri 'none'", ALLOWED),
    (
        "img-src 'self'; style-src 'self' 'unsafe-inline'; form-action 'self'",
        ALLOWED,
    ),
    ("report-uri /csp; report-to csp", ALLOWED),
    // Nothing at all.
    ("default-src 'none'", SCRIPT),
    ("default-src", SCRIPT),
    ("script-src", SCRIPT),
    ("default-src 'self'", SCRIPT),
    (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        SCRIPT,
    ),
    // Each of the three by itself.
    ("script-src 'self' https://clerk.example.com blob:", ALLOWED),
    ("script-src 'self' https://clerk.example.com", WORKER),
    ("script-src https://clerk.example.com blob:", SCRIPT),
    ("script-src 'self' blob:", SCRIPT),
    (
        "script-src 'self' clerk.example.com; worker-src blob:",
        ALLOWED,
    ),
    (
        "script-src 'self' clerk.example.com; child-src blob:",
        ALLOWED,
    ),
    (
        "script-src 'self' clerk.example.com; child-src 'self'; worker-src blob:",
        ALLOWED,
    ),
    (
        "script-src 'self' clerk.example.com blob:; child-src 'self'",
        WORKER,
    ),
    ("worker-src 'self'", WORKER),
    ("worker-src 'none'", WORKER),
    ("worker-src *", WORKER),
    ("connect-src 'self'", CONNECTION),
    ("connect-src 'none'", CONNECTION),
    ("connect-src 'self' https://clerk.example.com", ALLOWED),
    ("connect-src 'self' wss://clerk.example.com", ALLOWED),
    (
        "connect-src https://api.example.com https://clerk.example.com/v1/",
        ALLOWED,
    ),
    ("connect-src https://clerk.example.com/v1", CONNECTION),
    (
        "default-src 'self' https: blob:; connect-src 'self'",
        CONNECTION,
    ),
    // Which directive counts.
    (
        "default-src 'none'; script-src * blob:; connect-src *",
        ALLOWED,
    ),
    ("default-src *; worker-src blob:", ALLOWED),
    ("default-src *", WORKER),
    (
        "script-src 'none'; script-src-elem * ; worker-src blob:",
        ALLOWED,
    ),
    ("script-src * blob:; script-src-elem 'self'", SCRIPT),
    ("script-src-attr 'none'", ALLOWED),
    ("script-src 'none'; script-src * blob:", SCRIPT),
    ("SCRIPT-SRC 'SELF' HTTPS://CLERK.EXAMPLE.COM BLOB:", ALLOWED),
    ("script-src\t'self'\u{c}clerk.example.com\nblob:", ALLOWED),
    // Nonces and hashes are for what the page's author has put there.
    ("script-src 'nonce-r4nd0m'; worker-src blob:", SCRIPT),
    (
        "script-src 'nonce-r4nd0m' 'self' https://clerk.example.com; worker-src blob:",
        ALLOWED,
    ),
    (
        "script-src 'sha256-AbCdEf0123456789AbCdEf0123456789AbCdEf01234=' 'self'",
        SCRIPT,
    ),
    (
        "script-src 'nonce-r4nd0m' 'strict-dynamic' https: 'unsafe-inline'; worker-src blob:",
        SCRIPT,
    ),
    ("script-src 'STRICT-DYNAMIC' 'self' https: blob:", SCRIPT),
    (
        "object-src 'none'; script-src 'nonce-x' 'unsafe-inline' 'unsafe-eval' 'strict-dynamic' https: http: 'report-sample'; base-uri 'none'",
        SCRIPT,
    ),
    // Schemes.
    ("default-src https: blob:", ALLOWED),
    ("default-src http: blob:", ALLOWED),
    (
        "default-src https: data: 'unsafe-inline' 'unsafe-eval'",
        WORKER,
    ),
    ("default-src data: blob:", SCRIPT),
    ("script-src 'self' http://clerk.example.com blob:", ALLOWED),
    ("script-src 'self' ftp://clerk.example.com blob:", SCRIPT),
    // Hosts.
    ("script-src 'self' *.example.com blob:", ALLOWED),
    ("script-src *.example.com blob:", ALLOWED),
    ("script-src 'self' *.clerk.example.com blob:", SCRIPT),
    ("script-src 'self' example.com blob:", SCRIPT),
    ("script-src 'self' xclerk.example.com blob:", SCRIPT),
    (
        "script-src 'self' https://clerk.example.com.evil.test blob:",
        SCRIPT,
    ),
    ("script-src 'self' *example.com blob:", SCRIPT),
    ("script-src 'self' https://* blob:", ALLOWED),
    ("script-src 'self' *. blob:", SCRIPT),
    // Ports.
    ("script-src 'self' clerk.example.com:443 blob:", ALLOWED),
    ("script-src 'self' clerk.example.com:* blob:", ALLOWED),
    ("script-src 'self' clerk.example.com:8443 blob:", SCRIPT),
    (
        "script-src 'self' http://clerk.example.com:80 blob:",
        ALLOWED,
    ),
    (
        "script-src 'self' https://clerk.example.com:80 blob:",
        SCRIPT,
    ),
    ("script-src 'self' clerk.example.com:x blob:", SCRIPT),
    // Paths.
    (
        "script-src 'self' https://clerk.example.com/ blob:",
        ALLOWED,
    ),
    (
        "script-src 'self' https://clerk.example.com/npm/ blob:",
        ALLOWED,
    ),
    (
        "script-src 'self' https://clerk.example.com/%6Epm/ blob:",
        ALLOWED,
    ),
    (
        "script-src 'self' https://clerk.example.com/npm blob:",
        SCRIPT,
    ),
    (
        "script-src 'self' https://clerk.example.com/NPM/ blob:",
        SCRIPT,
    ),
    (
        "script-src 'self' https://clerk.example.com/npm/@clerk/clerk-js@6.29.3/dist/clerk.browser.js blob:",
        ALLOWED,
    ),
    (
        "script-src 'self' https://clerk.example.com/npm/@clerk/clerk-js@5.0.0/dist/clerk.browser.js blob:",
        SCRIPT,
    ),
    // What shuts everything off.
    ("sandbox", SANDBOX),
    ("sandbox allow-scripts", SANDBOX),
    ("sandbox allow-same-origin allow-forms", SANDBOX),
    ("sandbox allow-scripts allow-same-origin", ALLOWED),
    ("require-trusted-types-for 'script'", TRUSTED),
    ("trusted-types default", ALLOWED),
    // Several in one line.
    ("default-src https: blob:, script-src 'none'", SCRIPT),
    ("script-src * blob:, connect-src 'self'", CONNECTION),
    ("frame-ancestors 'self', object-src 'none'", ALLOWED),
    // Known ones.
    (
        "default-src 'self'; script-src 'self' 'unsafe-inline' https://clerk.example.com https://challenges.cloudflare.com; connect-src 'self' https://clerk.example.com; img-src 'self' https://img.clerk.com; worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; frame-src 'self' https://challenges.cloudflare.com; form-action 'self'",
        ALLOWED,
    ),
    (
        "default-src 'none'; base-uri 'self'; child-src github.githubassets.com github.com/webpack/ github.com/assets/; connect-src 'self' uploads.github.com; script-src github.githubassets.com; worker-src github.githubassets.com github.com/webpack/",
        SCRIPT,
    ),
    (
        "default-src 'self';base-uri 'self';font-src 'self' https: data:;form-action 'self';frame-ancestors 'self';img-src 'self' data:;object-src 'none';script-src 'self';script-src-attr 'none';style-src 'self' https: 'unsafe-inline';upgrade-insecure-requests",
        SCRIPT,
    ),
    (
        "default-src * data: blob: 'unsafe-inline' 'unsafe-eval'",
        ALLOWED,
    ),
    (
        "script-src http://*.example.com https://*.example.com 'unsafe-inline' 'unsafe-eval'; default-src * blob:",
        WORKER,
    ),
    // Nonsense.
    ("script-src none", SCRIPT),
    ("script-src self https://clerk.example.com blob:", SCRIPT),
    ("script-src \"self\" clerk.example.com blob:", SCRIPT),
    ("script-src 'self' ://clerk.example.com blob:", SCRIPT),
    ("script-src 'sëlf'", UNREADABLE),
];

#[test]
fn each_policy_of_a_header_is_judged_as_a_browser_would() {
    let needs = usual();
    assert!(POLICIES.len() >= 80, "{}", POLICIES.len());
    for (policy, expected) in POLICIES {
        let verdict = judge(policy.as_bytes(), Delivery::Header, &needs);
        assert_eq!(verdict, *expected, "{policy}");
    }
}

#[test]
fn a_policy_of_a_page_has_no_sandbox_and_no_second_policy() {
    let needs = usual();
    for (policy, expected) in [
        ("sandbox", ALLOWED),
        ("sandbox; script-src 'none'", SCRIPT),
        // A comma is a part of a source here, and such a source fits nothing.
        ("script-src 'self', https://clerk.example.com blob:", SCRIPT),
        ("default-src https: blob:", ALLOWED),
        ("script&#45;src 'none'", UNREADABLE),
        ("script-src &#39;self&#39;", UNREADABLE),
    ] {
        let verdict = judge(policy.as_bytes(), Delivery::Meta, &needs);
        assert_eq!(verdict, expected, "{policy}");
    }
}

#[test]
fn self_is_enough_where_clerk_is_below_a_path_of_the_application() {
    let needs = needs("https://app.example.com", "https://app.example.com/__clerk");
    for (policy, expected) in [
        ("default-src 'self' blob:", ALLOWED),
        ("default-src 'self'", WORKER),
        ("default-src 'self'; worker-src 'self' blob:", ALLOWED),
        (
            "script-src app.example.com/_gate/; worker-src blob:",
            SCRIPT,
        ),
        (
            "script-src app.example.com/_gate/ app.example.com/__clerk/; worker-src blob:",
            ALLOWED,
        ),
    ] {
        let verdict = judge(policy.as_bytes(), Delivery::Header, &needs);
        assert_eq!(verdict, expected, "{policy}");
    }
}

#[test]
fn ports_and_schemes_of_a_page_on_this_machine_count() {
    let needs = needs("http://localhost:8080", "http://127.0.0.1:9000");
    for (policy, expected) in [
        ("default-src 'self' http://127.0.0.1:9000 blob:", ALLOWED),
        ("default-src 'self' 127.0.0.1:* blob:", ALLOWED),
        ("default-src 'self' http://127.0.0.1 blob:", SCRIPT),
        ("default-src 'self' https://127.0.0.1:9000 blob:", SCRIPT),
        ("default-src http: blob:", ALLOWED),
        ("default-src https: blob:", SCRIPT),
        (
            "default-src http://localhost http://127.0.0.1:9000 blob:",
            SCRIPT,
        ),
    ] {
        let verdict = judge(policy.as_bytes(), Delivery::Header, &needs);
        assert_eq!(verdict, expected, "{policy}");
    }
}

#[test]
fn bytes_that_are_no_text_are_unreadable() {
    let verdict = judge(b"default-src \xff", Delivery::Header, &usual());
    assert_eq!(verdict, UNREADABLE);
}
