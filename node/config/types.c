/* The scalar types of the configuration file: how each is read and written. Each message says what would be
 * right. */
#include "node/config/types.h"

#include "base/ensure.h"
#include "base/err.h"
#include "base/text.h"
#include "node/config/config.h"

#include <ctype.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is shown of a wrong value. */
#define SHOWN(s) ((s).n > 80 ? 80 : (int)(s).n), (s).p

/* ---- numbers ------------------------------------------------------------------------------------------- */

static bool bool_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    (void)f;
    bool yes = span_eq_nocase(s, SPAN_LIT("true")) || span_eq_nocase(s, SPAN_LIT("yes")) ||
               span_eq_nocase(s, SPAN_LIT("on"));
    bool no = span_eq_nocase(s, SPAN_LIT("false")) || span_eq_nocase(s, SPAN_LIT("no")) ||
              span_eq_nocase(s, SPAN_LIT("off"));
    if (!yes && !no) {
        schema_fault(l, "expected true or false, got \"%.*s\"", SHOWN(s));
        return false;
    }
    *(bool *)out = yes;
    return true;
}

static bool bool_format(const struct schema_field *f, const void *in, struct buf *out)
{
    (void)f;
    buf_put_str(out, *(const bool *)in ? "true" : "false");
    return true;
}

const struct schema_type type_bool = { sizeof(bool), bool_parse, bool_format, NULL };

static bool number(struct schema_load *l, const struct schema_field *f, struct span s, uint64_t *v)
{
    if (text_u64(s, v) != 0 || *v < (uint64_t)f->min || *v > (uint64_t)f->max) {
        schema_fault(l, "expected a whole number from %" PRId64 " to %" PRId64 ", got \"%.*s\"", f->min,
                     f->max, SHOWN(s));
        return false;
    }
    return true;
}

static bool u32_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    uint64_t v;
    if (!number(l, f, s, &v))
        return false;
    *(uint32_t *)out = (uint32_t)v;
    return true;
}

static bool u32_format(const struct schema_field *f, const void *in, struct buf *out)
{
    (void)f;
    buf_printf(out, "%" PRIu32, *(const uint32_t *)in);
    return true;
}

const struct schema_type type_u32 = { sizeof(uint32_t), u32_parse, u32_format, NULL };

static bool count_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    return number(l, f, s, out);
}

static bool count_format(const struct schema_field *f, const void *in, struct buf *out)
{
    (void)f;
    buf_printf(out, "%" PRIu64, *(const uint64_t *)in);
    return true;
}

const struct schema_type type_count = { sizeof(uint64_t), count_parse, count_format, NULL };

static void put_size(uint64_t v, struct buf *out)
{
    static const char units[] = { 'k', 'M', 'G' };
    char unit = '\0';
    for (size_t i = 0; i < sizeof units && v >= 1024 && v % 1024 == 0; i++) {
        v /= 1024;
        unit = units[i];
    }
    buf_printf(out, "%" PRIu64, v);
    if (unit != '\0')
        buf_put_char(out, unit);
}

/* For messages. */
static const char *shown_size(int64_t v, char text[32])
{
    struct buf b;
    buf_init(&b, 64);
    put_size((uint64_t)v, &b);
    snprintf(text, 32, "%.*s", (int)b.len, b.data);
    buf_fini(&b);
    return text;
}

static bool size_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    uint64_t v;
    char low[32], high[32];
    if (text_size_bytes(s, &v) != 0) {
        schema_fault(l, "expected a size such as 64k, 25M or 2G, got \"%.*s\"", SHOWN(s));
        return false;
    }
    if (v < (uint64_t)f->min || v > (uint64_t)f->max) {
        schema_fault(l, "must be from %s to %s, got \"%.*s\"", shown_size(f->min, low),
                     shown_size(f->max, high), SHOWN(s));
        return false;
    }
    *(uint64_t *)out = v;
    return true;
}

static bool size_format(const struct schema_field *f, const void *in, struct buf *out)
{
    (void)f;
    put_size(*(const uint64_t *)in, out);
    return true;
}

const struct schema_type type_size = { sizeof(uint64_t), size_parse, size_format, NULL };

static bool duration_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    int64_t v;
    char low[32], high[32];
    if (text_duration_ms(s, &v) != 0) {
        schema_fault(l, "expected a time such as 30s, 5m, 4h or 2d, got \"%.*s\"", SHOWN(s));
        return false;
    }
    if (v < f->min || v > f->max) {
        schema_fault(l, "must be from %s to %s, got \"%.*s\"", text_exact_duration(f->min, low),
                     text_exact_duration(f->max, high), SHOWN(s));
        return false;
    }
    *(int64_t *)out = v;
    return true;
}

static bool duration_format(const struct schema_field *f, const void *in, struct buf *out)
{
    (void)f;
    char text[32];
    buf_put_str(out, text_exact_duration(*(const int64_t *)in, text));
    return true;
}

const struct schema_type type_duration = { sizeof(int64_t), duration_parse, duration_format, NULL };

/* ---- choices ------------------------------------------------------------------------------------------- */

static int choice(struct schema_load *l, const struct schema_field *f, struct span s)
{
    char all[200];
    size_t len = 0;
    for (int i = 0; f->names[i] != NULL; i++) {
        if (span_eq_nocase(s, span_str(f->names[i])))
            return i;
        const char *sep = i == 0 ? "" : f->names[i + 1] == NULL ? " or " : ", ";
        len += (size_t)snprintf(all + len, sizeof all - len, "%s%s", sep, f->names[i]);
        ensure(len < sizeof all);
    }
    schema_fault(l, "expected %s, got \"%.*s\"", all, SHOWN(s));
    return -1;
}

static bool enum_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    int v = choice(l, f, s);
    if (v >= 0)
        *(int *)out = v;
    return v >= 0;
}

static bool enum_format(const struct schema_field *f, const void *in, struct buf *out)
{
    buf_put_str(out, f->names[*(const int *)in]);
    return true;
}

const struct schema_type type_enum = { sizeof(int), enum_parse, enum_format, NULL };

static bool flag_enum_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    int v = choice(l, f, s);
    if (v >= 0)
        *(bool *)out = v == 1;
    return v >= 0;
}

static bool flag_enum_format(const struct schema_field *f, const void *in, struct buf *out)
{
    buf_put_str(out, f->names[*(const bool *)in ? 1 : 0]);
    return true;
}

const struct schema_type type_flag_enum = { sizeof(bool), flag_enum_parse, flag_enum_format, NULL };

/* ---- strings ------------------------------------------------------------------------------------------- */

bool config_string_keep(struct span s, void *out)
{
    char *copy = strndup(s.p, s.n);
    ensure(copy != NULL); /* bounded by CONFIG_FILE_MAX, at start or on an operator's reload */
    memcpy(out, &copy, sizeof copy);
    return true;
}

static bool keep_lower(struct span s, void *out)
{
    config_string_keep(s, out);
    for (char *p = *(char **)out; *p != '\0'; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p - 'A' + 'a');
    return true;
}

bool config_string_format(const struct schema_field *f, const void *in, struct buf *out)
{
    (void)f;
    const char *s = *(char *const *)in;
    if (s == NULL)
        return false;
    buf_put_str(out, s);
    return true;
}

void config_string_fini(void *value)
{
    free(*(char **)value);
}

static bool printable(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return false;
    return text_utf8_valid(s);
}

static bool text_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    if (s.n == 0 || s.n > (size_t)f->max || !printable(s)) {
        schema_fault(l, "expected 1 to %" PRId64 " printable characters", f->max);
        return false;
    }
    return config_string_keep(s, out);
}

const struct schema_type type_text = { sizeof(char *), text_parse, config_string_format, config_string_fini };

static bool word_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    (void)f;
    bool good = s.n > 0 && s.n <= 63;
    for (size_t i = 0; good && i < s.n; i++)
        good = isalnum((unsigned char)s.p[i]) || strchr("-_.", s.p[i]) != NULL;
    if (!good) {
        schema_fault(l, "expected 1 to 63 letters, digits, \"-\", \"_\" or \".\", got \"%.*s\"", SHOWN(s));
        return false;
    }
    return config_string_keep(s, out);
}

const struct schema_type type_word = { sizeof(char *), word_parse, config_string_format, config_string_fini };

static bool path_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    (void)f;
    if (s.n == 0 || s.p[0] != '/' || s.n > 1000 || !printable(s)) {
        schema_fault(l, "expected an absolute path (it begins with \"/\"), got \"%.*s\"", SHOWN(s));
        return false;
    }
    while (s.n > 1 && s.p[s.n - 1] == '/')
        s.n--;
    return config_string_keep(s, out);
}

const struct schema_type type_path = { sizeof(char *), path_parse, config_string_format, config_string_fini };

static bool events_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    (void)f;
    if (span_eq(s, SPAN_LIT("off")) || span_eq(s, SPAN_LIT("stdout")) || span_eq(s, SPAN_LIT("journal")) ||
        (s.n > 1 && s.p[0] == '/' && s.n <= 1000 && printable(s)))
        return config_string_keep(s, out);
    schema_fault(l, "expected off, stdout, journal or an absolute path, got \"%.*s\"", SHOWN(s));
    return false;
}

const struct schema_type type_events = { sizeof(char *), events_parse, config_string_format,
                                         config_string_fini };

/* ---- names --------------------------------------------------------------------------------------------- */

bool host_valid(struct span s)
{
    if (s.n == 0 || s.n > 253)
        return false;
    for (size_t i = 0; i < s.n;) {
        size_t start = i;
        while (i < s.n && s.p[i] != '.') {
            unsigned char c = (unsigned char)s.p[i];
            if (c >= 0x80 || (!isalnum(c) && c != '-' && c != '_'))
                return false;
            i++;
        }
        if (i == start || i - start > 63 || s.p[start] == '-' || s.p[i - 1] == '-')
            return false;
        if (i < s.n && ++i == s.n)
            return false; /* a final dot was taken off by the caller */
    }
    return true;
}

static struct span without_dot(struct span s)
{
    if (s.n > 1 && s.p[s.n - 1] == '.')
        s.n--;
    return s;
}

static bool host_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    (void)f;
    struct span host = without_dot(s);
    struct sockaddr_storage ip;
    if (!text_ascii(host)) {
        schema_fault(l, "write an international name in its ASCII form (\"xn--...\"), got \"%.*s\"",
                     SHOWN(s));
        return false;
    }
    if (config_ip_parse(host, &ip) == 0) {
        schema_fault(l, "expected a host name, got the address \"%.*s\"", SHOWN(s));
        return false;
    }
    if (!host_valid(host) ||
        (memchr(host.p, '.', host.n) == NULL && !span_eq_nocase(host, SPAN_LIT("localhost")))) {
        schema_fault(l, "expected a full host name such as mail.example.com, got \"%.*s\"", SHOWN(s));
        return false;
    }
    return keep_lower(host, out);
}

const struct schema_type type_host = { sizeof(char *), host_parse, config_string_format, config_string_fini };

/* "local@domain", with nothing in it that would need quoting. */
bool email_valid(struct span s)
{
    const char *at = s.n > 0 ? memrchr(s.p, '@', s.n) : NULL;
    if (at == NULL || at == s.p || s.n > 254 || !printable(s))
        return false;
    size_t local = (size_t)(at - s.p);
    for (size_t i = 0; i < local; i++)
        if (strchr(" \"(),:;<>@[\\]", s.p[i]) != NULL)
            return false;
    return local <= 64 && host_valid(span_sub(s, local + 1));
}

static bool email_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    (void)f;
    if (!email_valid(s)) {
        schema_fault(l, "expected a mail address such as postmaster@example.com, got \"%.*s\"", SHOWN(s));
        return false;
    }
    return config_string_keep(s, out);
}

const struct schema_type type_email = { sizeof(char *), email_parse, config_string_format,
                                        config_string_fini };

/* The same characters as the accounts file allows. */
static bool account_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    (void)f;
    bool good = s.n > 0 && s.n <= 320 && printable(s);
    for (size_t i = 0; good && i < s.n; i++)
        good = strchr(" :\",\\", s.p[i]) == NULL;
    if (!good) {
        schema_fault(l, "expected an account name such as anna@example.com, without blanks, got \"%.*s\"",
                     SHOWN(s));
        return false;
    }
    return keep_lower(s, out);
}

const struct schema_type type_account = { sizeof(char *), account_parse, config_string_format,
                                          config_string_fini };

static bool sender_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    (void)f;
    struct span domain = s.n > 0 && s.p[0] == '@' ? span_sub(s, 1) : s;
    if (!span_eq(s, SPAN_LIT("*")) && !email_valid(s) && !host_valid(domain)) {
        schema_fault(l, "expected an address, a domain or \"*\", got \"%.*s\"", SHOWN(s));
        return false;
    }
    return keep_lower(s, out);
}

const struct schema_type type_sender = { sizeof(char *), sender_parse, config_string_format,
                                         config_string_fini };

static bool domain_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    (void)f;
    struct span name = without_dot(s);
    struct span base = span_starts(name, SPAN_LIT("*.")) ? span_sub(name, 2) : name;
    if (!text_ascii(s)) {
        schema_fault(l, "write an international name in its ASCII form (\"xn--...\"), got \"%.*s\"",
                     SHOWN(s));
        return false;
    }
    if (!span_eq(s, SPAN_LIT("*")) && !host_valid(base)) {
        schema_fault(l, "expected \"example.com\", \"*.example.com\" or \"*\", got \"%.*s\"", SHOWN(s));
        return false;
    }
    return keep_lower(name, out);
}

const struct schema_type type_domain = { sizeof(char *), domain_parse, config_string_format,
                                         config_string_fini };

static bool match_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    (void)f;
    const char *at = s.n > 0 ? memrchr(s.p, '@', s.n) : NULL;
    struct span after = at != NULL ? span_sub(s, (size_t)(at - s.p) + 1) : s;
    struct span base = span_starts(after, SPAN_LIT("*.")) ? span_sub(after, 2) : after;
    struct span local = at != NULL ? span_of(s.p, (size_t)(at - s.p)) : SPAN_LIT("*");
    bool good = span_eq(s, SPAN_LIT("*")) ||
                (host_valid(base) && local.n > 0 && printable(local) &&
                 (span_eq(local, SPAN_LIT("*")) || memchr(local.p, '*', local.n) == NULL));
    if (!good) {
        schema_fault(
            l, "expected \"user@example.com\", \"*@example.com\", \"*.example.com\" or \"*\", got \"%.*s\"",
            SHOWN(s));
        return false;
    }
    return keep_lower(s, out);
}

const struct schema_type type_match = { sizeof(char *), match_parse, config_string_format,
                                        config_string_fini };

/* ---- addresses ----------------------------------------------------------------------------------------- */

static bool endpoint_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    (void)f;
    if (config_endpoint_parse(s, ':', out) != 0) {
        schema_fault(
            l, "expected an IP address and port such as 192.0.2.1:587 or [2001:db8::1]:587, got \"%.*s\"",
            SHOWN(s));
        return false;
    }
    return true;
}

static bool endpoint_format(const struct schema_field *f, const void *in, struct buf *out)
{
    (void)f;
    char text[80];
    const struct sockaddr_storage *a = in;
    if (a->ss_family == AF_UNSPEC)
        return false;
    config_endpoint_format(a, text, sizeof text);
    buf_put_str(out, text);
    return true;
}

const struct schema_type type_endpoint = { sizeof(struct sockaddr_storage), endpoint_parse, endpoint_format,
                                           NULL };

static bool ip_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    (void)f;
    if (config_ip_parse(s, out) != 0) {
        schema_fault(l,
                     "expected an IP address such as 192.0.2.1 or 2001:db8::1, without a port, got \"%.*s\"",
                     SHOWN(s));
        return false;
    }
    return true;
}

const struct schema_type type_ip = { sizeof(struct sockaddr_storage), ip_parse, endpoint_format, NULL };

static bool server_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    (void)f;
    if (config_endpoint_parse(s, '@', out) != 0) {
        schema_fault(l,
                     "expected a resolver's address such as 192.0.2.53, ::1 or 127.0.0.1@5353, got \"%.*s\"",
                     SHOWN(s));
        return false;
    }
    return true;
}

static bool server_format(const struct schema_field *f, const void *in, struct buf *out)
{
    (void)f;
    char text[80];
    struct sockaddr_storage a = *(const struct sockaddr_storage *)in;
    uint16_t port = config_sockaddr_port(&a);
    if (a.ss_family == AF_INET)
        ((struct sockaddr_in *)&a)->sin_port = 0;
    else
        ((struct sockaddr_in6 *)&a)->sin6_port = 0;
    config_endpoint_format(&a, text, sizeof text);
    buf_printf(out, "%s@%u", text, port);
    return true;
}

const struct schema_type type_server = { sizeof(struct sockaddr_storage), server_parse, server_format, NULL };

static bool net_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    (void)f;
    struct ip_net *net = out;
    if (ip_net_parse(s, net) == 0)
        return true;
    char meant[IP_TEXT_MAX + 4];
    config_net_format(net, meant);
    if (net->bits != 0)
        schema_fault(l, "has bits set after the prefix: \"%.*s\"; did you mean %s?", SHOWN(s), meant);
    else
        schema_fault(l, "expected a network such as 192.0.2.0/24 or 2001:db8::/32, got \"%.*s\"", SHOWN(s));
    return false;
}

static bool net_format(const struct schema_field *f, const void *in, struct buf *out)
{
    (void)f;
    char text[IP_TEXT_MAX + 4];
    config_net_format(in, text);
    buf_put_str(out, text);
    return true;
}

const struct schema_type type_net = { sizeof(struct ip_net), net_parse, net_format, NULL };
