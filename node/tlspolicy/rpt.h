/* TLS reports (RFC 8460): how connections to each domain went, by day and by policy, and the report of a day
 * about a domain. Counts only; looking up who wants one and sending it are elsewhere. Any thread.
 *
 * Bounded: so many domains a day (sessions with others are not counted), policies of a domain and kinds of
 * failure of a policy (others are counted as failures without details).
 */
#ifndef NODE_TLSPOLICY_RPT_H
#define NODE_TLSPOLICY_RPT_H

#include "base/buf.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define RPT_DOMAINS_MAX 20000
#define RPT_POLICIES_MAX 8
#define RPT_FAILURES_MAX 32
#define RPT_POLICY_TEXT_MAX 2048
#define RPT_BYTES_MAX (64u << 20) /* of policies and failures; above: as over the numbers */
#define RPT_DAY_MS INT64_C(86400000)

enum rpt_policy { RPT_NO_POLICY, RPT_TLSA, RPT_STS };
enum rpt_result { /* section 4.3 */
                  RPT_SUCCESS,
                  RPT_STARTTLS_NOT_SUPPORTED,
                  RPT_CERTIFICATE_HOST_MISMATCH,
                  RPT_CERTIFICATE_EXPIRED,
                  RPT_CERTIFICATE_NOT_TRUSTED,
                  RPT_VALIDATION_FAILURE,
                  RPT_TLSA_INVALID,
                  RPT_DNSSEC_INVALID,
                  RPT_DANE_REQUIRED,
                  RPT_STS_POLICY_FETCH_ERROR,
                  RPT_STS_POLICY_INVALID,
};

struct rpt_session {
    const char *domain; /* whose policy it is: the recipients' */
    enum rpt_policy policy;
    struct span policy_text; /* its lines, with LF between them; may be empty */
    enum rpt_result result;
    const char *sending_ip, *mx_host, *mx_ip, *reason; /* of failures; NULL or "": not known */
};

struct rpt;
/* NULL: no memory. */
struct rpt *rpt_new(uint32_t domains_max);
void rpt_free(struct rpt *r);
void rpt_count(struct rpt *r, int64_t now_ms, const struct rpt_session *s);
uint32_t rpt_domains(struct rpt *r);

struct rpt_sender {
    const char *organization, *contact, *host;
    const char *node; /* tells this node's reports from those of others with its host's name */
};
struct rpt_due {
    char domain[256];
    int64_t day;     /* since 1970 */
    uint32_t sent;   /* addresses that have it, by their places in the record, for the caller to add to */
    char id[64];     /* of the report; the same whenever it is asked for, over restarts, too */
    struct buf json; /* the caller's to init */
};
/* The report about one domain, of a day that is over. ERR_NOT_FOUND: none is due; -ENOMEM. */
int rpt_next(struct rpt *r, int64_t now_ms, const struct rpt_sender *sender, struct rpt_due *out);
/* It was sent, or nobody wants it. */
void rpt_done(struct rpt *r, const struct rpt_due *due);
/* Not all of `due->sent` could be reached: again after RPT_RETRY_MS, then after twice as long each time.
 * False: RPT_GIVE_UP_MS have passed since the first time, and it is done with (RFC 8460 section 5.4). */
#define RPT_RETRY_MS 300000
#define RPT_GIVE_UP_MS RPT_DAY_MS
bool rpt_later(struct rpt *r, const struct rpt_due *due, int64_t now_ms);
/* When the next one that waits is due, wall; INT64_MAX: none waits. */
int64_t rpt_waits_until(struct rpt *r);

/* What is counted, over restarts and crashes. 0 or an error; what cannot be read is left out.
 *
 * rpt_keep appends what changed since, and writes the file as a whole when it has become much longer than it
 * need be; both are synced. */
int rpt_keep(struct rpt *r, const char *file);
int rpt_save(struct rpt *r, const char *file); /* as a whole */
int rpt_load(struct rpt *r, const char *file, int64_t now_ms);

#define RPT_TXT "_smtp._tls." /* in front of the domain */
#define RPT_URIS_MAX 4
struct rpt_uris {
    uint32_t n;
    struct span uri[RPT_URIS_MAX]; /* "mailto:..." or "https://...", within the text */
};
/* Section 3. 0; ERR_NOT_FOUND: no such record; ERR_BAD: none that can be used. */
int rpt_txt_parse(struct span text, struct rpt_uris *out);

#endif
