# Passes a runner's output through and closes with one line that counts what ran.
#
#   cargo test | awk -v name=test-rust -v to=target/closing -f tests/closing.awk
#
# Understands `cargo test`, `node --test --test-reporter=spec`, and scripts that print `ok - …` and
# `not ok - …`, or `N passed, N failed` at their end. It is an error when nothing ran, and when a test outside of `cargo test` was skipped.

{ print; fflush() }

/^test result: / { passed += $4; failed += $6; ignored += $8 }
/^ℹ pass / { passed += $3 }
/^ℹ (fail|cancelled) / { failed += $3 }
/^ℹ (skipped|todo) / { skipped += $3 }
/^ok - / { passed++ }
/^not ok - / { failed++ }
/^[0-9]+ passed, [0-9]+ failed$/ { passed += $1; failed += $3 }

END {
    line = sprintf("%s: %d passed, %d failed", name, passed, failed)
    if (ignored) line = line sprintf(", %d ignored", ignored)
    if (skipped) line = line sprintf(", %d skipped", skipped)
    print line
    print line > (to "/" name)
    exit !(passed > 0 && failed == 0 && skipped == 0)
}
