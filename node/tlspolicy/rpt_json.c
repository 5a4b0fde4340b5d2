/* TLS reports as JSON (RFC 8460 section 4.4), and the lines of the file of what is counted. Under the
 * caller's lock. */
#include "node/tlspolicy/rpt_impl.h"

#include "base/err.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const policies[] = {
    [RPT_NO_POLICY] = "no-policy-found", [RPT_TLSA] = "tlsa", [RPT_STS] = "sts"
};

static const char *const results[] = {
    [RPT_SUCCESS] = "success",
    [RPT_STARTTLS_NOT_SUPPORTED] = "starttls-not-supported",
    [RPT_CERTIFICATE_HOST_MISMATCH] = "certificate-host-mismatch",
    [RPT_CERTIFICATE_EXPIRED] = "certificate-expired",
    [RPT_CERTIFICATE_NOT_TRUSTED] = "certificate-not-trusted",
    [RPT_VALIDATION_FAILURE] = "validation-failure",
    [RPT_TLSA_INVALID] = "tlsa-invalid",
    [RPT_DNSSEC_INVALID] = "dnssec-invalid",
    [RPT_DANE_REQUIRED] = "dane-required",
    [RPT_STS_POLICY_FETCH_ERROR] = "sts-policy-fetch-error",
    [RPT_STS_POLICY_INVALID] = "sts-policy-invalid",
};

static int find_name(const char *const *names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (name != NULL && strcmp(names[i], name) == 0)
            return (int)i;
    }
    return -1;
}

/* Text that came from strangers need not be UTF-8: then it is left out. Empty text is, too. */
static void put_text(json_t *to, const char *key, const char *text)
{
    if (text[0] != '\0')
        json_object_set_new(to, key, json_string(text));
}

static void put_lines(json_t *to, const char *text)
{
    while (*text != '\0') {
        size_t n = strcspn(text, "\n");
        if (n > 0)
            json_array_append_new(to, json_stringn(text, n));
        text += n + (text[n] == '\n');
    }
}

/* "mx: a.test" of an MTA-STS policy's lines. */
static void put_mx(json_t *policy, const char *text)
{
    json_t *hosts = json_array();
    while (*text != '\0') {
        size_t n = strcspn(text, "\n");
        if (strncmp(text, "mx: ", 4) == 0)
            json_array_append_new(hosts, json_stringn(text + 4, n - 4));
        text += n + (text[n] == '\n');
    }
    if (json_array_size(hosts) > 0)
        json_object_set(policy, "mx-host", hosts);
    json_decref(hosts);
}

static json_t *entry_json(const struct rpt_domain *d, const struct rpt_entry *e)
{
    json_t *policy = json_object(), *lines = json_array(), *details = json_array(), *out = json_object();
    json_object_set_new(policy, "policy-type", json_string(policies[e->policy]));
    put_lines(lines, e->text);
    if (json_array_size(lines) > 0)
        json_object_set(policy, "policy-string", lines);
    json_decref(lines);
    json_object_set_new(policy, "policy-domain", json_string(d->name));
    if (e->policy == RPT_STS)
        put_mx(policy, e->text);
    json_object_set_new(out, "policy", policy);
    json_object_set_new(out, "summary",
                        json_pack("{s:I, s:I}", "total-successful-session-count", (json_int_t)e->good,
                                  "total-failure-session-count", (json_int_t)e->bad));
    for (uint32_t i = 0; i < e->n; i++) {
        const struct rpt_failure *f = &e->failures[i];
        json_t *detail = json_object();
        json_object_set_new(detail, "result-type", json_string(results[f->result]));
        put_text(detail, "sending-mta-ip", f->sending_ip);
        put_text(detail, "receiving-mx-hostname", f->mx_host);
        put_text(detail, "receiving-ip", f->mx_ip);
        json_object_set_new(detail, "failed-session-count", json_integer((json_int_t)f->count));
        put_text(detail, "failure-reason-code", f->reason);
        json_array_append_new(details, detail);
    }
    if (e->n > 0)
        json_object_set(out, "failure-details", details);
    json_decref(details);
    return out;
}

static void put_time(json_t *to, const char *key, int64_t s)
{
    char text[32];
    time_t t = (time_t)s;
    struct tm tm;
    gmtime_r(&t, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    json_object_set_new(to, key, json_string(text));
}

static int dump(json_t *j, struct buf *out)
{
    char *text = json_dumps(j, JSON_COMPACT);
    int err = text == NULL ? -ENOMEM : buf_put_str(out, text);
    free(text);
    return err;
}

int rpt_domain_render(const struct rpt_domain *d, const struct rpt_sender *sender, const char *id,
                      struct buf *out)
{
    json_t *report = json_object(), *range = json_object(), *list = json_array();
    json_object_set_new(report, "organization-name", json_string(sender->organization));
    put_time(range, "start-datetime", d->day * 86400);
    put_time(range, "end-datetime", d->day * 86400 + 86399);
    json_object_set_new(report, "date-range", range);
    json_object_set_new(report, "contact-info", json_string(sender->contact));
    json_object_set_new(report, "report-id", json_string(id));
    for (uint32_t i = 0; i < d->n; i++)
        json_array_append_new(list, entry_json(d, d->entries[i]));
    json_object_set_new(report, "policies", list);
    int err = dump(report, out);
    json_decref(report);
    return err;
}

/* ---- a line of the file ---- */

int rpt_domain_line(const struct rpt_domain *d, struct buf *out)
{
    json_t *line = json_object(), *list = json_array();
    json_object_set_new(line, "day", json_integer((json_int_t)d->day));
    json_object_set_new(line, "domain", json_string(d->name));
    for (uint32_t i = 0; i < d->n; i++)
        json_array_append_new(list, entry_json(d, d->entries[i]));
    json_object_set_new(line, "policies", list);
    int err = dump(line, out);
    json_decref(line);
    return err != 0 ? err : buf_put_char(out, '\n');
}

static const char *text_of(const json_t *j, const char *key)
{
    const char *text = json_string_value(json_object_get(j, key));
    return text == NULL ? "" : text;
}

static uint64_t count_of(const json_t *j, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(j, key));
    return n < 0 ? 0 : (uint64_t)n;
}

static void entry_take(struct rpt *r, struct rpt_domain *d, const json_t *j)
{
    const json_t *policy = json_object_get(j, "policy"), *summary = json_object_get(j, "summary"), *item;
    int kind = find_name(policies, sizeof policies / sizeof *policies, text_of(policy, "policy-type"));
    struct buf text;
    size_t i;
    if (kind < 0)
        return;
    buf_init(&text, RPT_POLICY_TEXT_MAX);
    json_array_foreach(json_object_get(policy, "policy-string"), i, item)
    {
        if (json_is_string(item))
            buf_printf(&text, "%s%s", text.len == 0 ? "" : "\n", json_string_value(item));
    }
    struct rpt_entry *e = rpt_entry_get(r, d, (enum rpt_policy)kind, buf_span(&text));
    buf_fini(&text);
    if (e == NULL)
        return;
    e->good += count_of(summary, "total-successful-session-count");
    e->bad += count_of(summary, "total-failure-session-count");
    json_array_foreach(json_object_get(j, "failure-details"), i, item)
    {
        int result = find_name(results, sizeof results / sizeof *results, text_of(item, "result-type"));
        struct rpt_session s = { .result = (enum rpt_result)result,
                                 .sending_ip = text_of(item, "sending-mta-ip"),
                                 .mx_host = text_of(item, "receiving-mx-hostname"),
                                 .mx_ip = text_of(item, "receiving-ip"),
                                 .reason = text_of(item, "failure-reason-code") };
        struct rpt_failure *f = result <= RPT_SUCCESS ? NULL : rpt_failure_get(r, e, &s);
        if (f != NULL)
            f->count += count_of(item, "failed-session-count");
    }
}

void rpt_line_take(struct rpt *r, const char *line, int64_t from_day, int64_t to_day)
{
    json_t *j = json_loads(line, 0, NULL), *item;
    int64_t day = json_integer_value(json_object_get(j, "day"));
    const char *name = text_of(j, "domain");
    size_t i;
    if (name[0] != '\0' && day >= from_day && day <= to_day) {
        rpt_domain_forget(r, name, day); /* a later line says all anew */
        bool done = json_is_true(json_object_get(j, "done"));
        struct rpt_domain *d = done ? NULL : rpt_domain_get(r, name, day);
        json_array_foreach(json_object_get(j, "policies"), i, item)
        {
            if (d != NULL)
                entry_take(r, d, item);
        }
    }
    json_decref(j);
}
