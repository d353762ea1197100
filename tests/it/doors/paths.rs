//! Every spelling of a path that is tried at the proxy, told by a gateway.

use clerk_gate::core::door::Dialect;
use clerk_gate::core::path::CanonicalPath;

use super::asked;
use crate::attacks::{assert_none, table};
use crate::support::{World, usual_routes};

#[tokio::test]
async fn a_door_lets_through_what_the_proxy_forwards_as_it_came_and_nothing_else() {
    let world = World::with(usual_routes()).with_doors().start().await;
    let bearer = |person: &str| {
        let token = world.clerk.sign_in(person, None).token;
        format!("authorization: Bearer {token}\r\n")
    };
    let people = [
        (String::new(), 401),
        (bearer("mel"), 403),
        (bearer("ada"), 200),
    ];
    let mut faults = Vec::new();
    let (mut same, mut refused) = (0, 0);
    for (number, case) in table("paths.txt", 500).into_iter().enumerate() {
        let target = case.at(&world);
        // A line break ends a header line wherever it comes from, and white space at its ends is none of it.
        if target.iter().any(|byte| matches!(byte, b'\r' | b'\n')) || target.ends_with(b"\t") {
            continue;
        }
        let path = String::from_utf8_lossy(&target).into_owned();
        let path = path.split('?').next().unwrap_or_default();
        let canonical = CanonicalPath::parse(path).is_ok_and(|read| read.as_str() == path);
        let dialect = Dialect::ALL[number % Dialect::ALL.len()];
        for (person, judged) in &people {
            let host = format!("localhost:{}", world.gate.port());
            let is = asked(&world, dialect, (&target, host.as_bytes()), person).await;
            let expected = case.expected.parse::<u16>().ok();
            let wanted = if canonical {
                expected.unwrap_or(*judged)
            } else {
                400
            };
            let well =
                is == wanted || (!canonical && (400..500).contains(&is) && is != 401 && is != 403);
            if !well {
                faults.push(case.fault(format!("{dialect:?}: {is} and not {wanted}")));
            }
        }
        if canonical {
            same += 1;
        } else {
            refused += 1;
        }
    }
    world.upstream.assert_untouched();
    assert_none(&faults);
    assert!(same > 100 && refused > 100, "{same} and {refused}");
}
