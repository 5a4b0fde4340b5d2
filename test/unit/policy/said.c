/* See said.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "said.h"

#include "base/err.h"

#include <string.h>

#define SAID_MAX 65536

struct policy *said_read(const char *text)
{
    struct policy *p = NULL;
    struct buf why;
    buf_init(&why, SAID_MAX);
    int err = policy_parse("p.yaml", span_str(text), &p, &why);
    if (err != 0 || why.len != 0)
        fail_msg("%.*s", (int)why.len, why.data);
    buf_fini(&why);
    return p;
}

void said_faults(const struct said_fault *f, size_t n)
{
    size_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        struct policy *p = NULL;
        struct buf why;
        buf_init(&why, SAID_MAX);
        int err = policy_parse("p.yaml", span_str(f[i].text), &p, &why);
        buf_put_char(&why, '\0');
        if (err != ERR_BAD || p != NULL || strcmp(why.data, f[i].want) != 0) {
            print_error("case %zu:\n%s--- said:\n%s--- not:\n%s", i, f[i].text, why.data, f[i].want);
            bad++;
        }
        policy_rele(p);
        buf_fini(&why);
    }
    assert_int_equal(bad, 0);
}

void said_diff(const char *from, const char *to, const char *want)
{
    struct policy *a = said_read(from), *b = said_read(to);
    struct buf out;
    buf_init(&out, SAID_MAX);
    assert_int_equal(policy_diff(a, b, &out), 0);
    buf_put_char(&out, '\0');
    assert_string_equal(out.data, want);
    buf_fini(&out);
    policy_rele(a);
    policy_rele(b);
}
