/* Fuzzes the parsers of one argument: paths, xtext, base64, and MAIL's and RCPT's parameters.
 *
 * What is taken must be clean, within its limits, and mean the same when it is read again.
 */
#include "base/ensure.h"
#include "base/text.h"
#include "node/smtp/address.h"
#include "node/smtp/base64.h"
#include "node/smtp/param.h"
#include "node/smtp/xtext.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void clean(struct span s)
{
    ensure(text_utf8_valid(s));
    for (size_t i = 0; i < s.n; i++) {
        ensure((unsigned char)s.p[i] >= 0x20);
        ensure(s.p[i] != 0x7f);
    }
}

static void check_path(const struct smtp_path *p)
{
    clean(p->text);
    ensure(p->local.n <= SMTP_LOCAL_MAX);
    ensure(p->domain.n <= SMTP_DOMAIN_MAX || p->is_literal);
    if (p->text.n == 0)
        return;
    ensure(p->local.n > 0);
    ensure(p->text.n == p->local.n + (p->domain.n > 0 ? p->domain.n + 1 : 0));
    ensure(p->utf8 == !text_ascii(p->text));
    struct smtp_path again;
    ensure(smtp_mailbox_parse(p->text, &again) == 0);
    ensure(span_eq(again.local, p->local));
    ensure(span_eq(again.domain, p->domain));
    if (p->domain.n > 0 && !p->is_literal) {
        char ascii[SMTP_DOMAIN_MAX + 1], twice[SMTP_DOMAIN_MAX + 1];
        ensure(smtp_domain_ascii(p->domain, ascii) == 0);
        ensure(smtp_domain_ascii(span_str(ascii), twice) == 0);
        ensure(strcmp(ascii, twice) == 0);
    }
    /* an unquoted local part has no '@', so there is one way to split it */
    if (p->local.p[0] != '"')
        ensure(memchr(p->local.p, '@', p->local.n) == NULL);
}

static char *copy_of(struct span s)
{
    char *copy = malloc(s.n == 0 ? 1 : s.n);
    ensure(copy != NULL);
    if (s.n > 0)
        memcpy(copy, s.p, s.n);
    return copy;
}

static void fuzz_params(struct span s, bool rcpt, bool utf8)
{
    struct smtp_param_offer offer = { .smtputf8 = utf8,
                                      .auth = true,
                                      .requiretls = true,
                                      .allow_unqualified = utf8,
                                      .max_message_bytes = 1000 };
    char *copy = copy_of(s);
    struct smtp_server_mail m;
    struct smtp_server_rcpt r;
    const struct smtp_reply *bad =
        rcpt ? smtp_param_rcpt(copy, s.n, &offer, utf8, &r) : smtp_param_mail(copy, s.n, &offer, &m);
    if (bad != NULL) {
        ensure(bad->code >= 500);
    } else if (rcpt) {
        check_path(&r.to);
        ensure(r.to.text.n > 0);
        clean(r.orcpt);
    } else {
        check_path(&m.from);
        clean(m.envid);
        clean(m.auth);
        ensure(m.size <= 1000);
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 4096)
        return 0;
    struct span s = span_of(data + 1, size - 1);
    struct smtp_path p;
    char *copy;
    size_t n = s.n, used;
    switch (data[0] % 6) {
    case 0:
        if (smtp_path_parse(s, &p, &used) == 0) {
            ensure(used <= s.n);
            ensure(s.p[used - 1] == '>');
            check_path(&p);
        }
        break;
    case 1:
        fuzz_params(s, false, data[0] >= 128);
        break;
    case 2:
        fuzz_params(s, true, data[0] >= 128);
        break;
    case 3:
        copy = copy_of(s);
        if (smtp_xtext_decode(copy, &n) == 0)
            clean(span_of(copy, n));
        ensure(n <= s.n);
        free(copy);
        break;
    case 4:
        copy = copy_of(s);
        if (smtp_utf8_addr_decode(copy, &n, data[0] >= 128) == 0)
            clean(span_of(copy, n));
        ensure(n <= s.n);
        free(copy);
        break;
    default:
        copy = malloc(SMTP_BASE64_ROOM(s.n) + 1);
        ensure(copy != NULL);
        if (smtp_base64_decode(s, copy, &n) == 0)
            ensure(n <= SMTP_BASE64_ROOM(s.n));
        free(copy);
    }
    return 0;
}
