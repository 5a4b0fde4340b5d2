/* What a next hop must show before it gets mail: DANE (RFC 7672), by the TLSA records that were found with
 * its addresses; else MTA-STS (RFC 8461), by the policy of the domain. Nothing here asks; a host that is not
 * as it should be is passed over, never spoken to in the clear. The worker's thread.
 */
#include "node/core/conn.h"
#include "node/core/report.h"

#include <stdio.h>
#include <string.h>

static int route_tls(const struct config *c, const struct config_route *r)
{
    return r != NULL ? r->tls : c->delivery.tls;
}

static int route_dane(const struct config *c, const struct config_route *r)
{
    return r != NULL ? r->dane : c->delivery.dane;
}

bool conn_policy_wants_dane(const struct config *c, const struct config_route *r)
{
    return route_dane(c, r) != CONFIG_DANE_OFF;
}

bool conn_policy_wants_sts(const struct config *c, const struct config_route *r)
{
    return r != NULL ? r->mta_sts : c->delivery.mta_sts;
}

void conn_policy_site(struct conn *c)
{
    sts_policy_rele(c->sts);
    c->sts = c->site->sts;
    c->wish = route_key_tls(queue_site_key(c->site->qs));
    if (c->sts != NULL)
        sts_policy_hold(c->sts);
}

static bool dane_target(struct conn *c, const struct dns_dane *dane)
{
    char text[256];
    enum tlsa_status status = dane == NULL ? TLSA_NONE : dane->status;
    bool only = route_dane(c->config, c->hop.route) == CONFIG_DANE_ONLY;
    if (status == TLSA_FAILED)
        snprintf(text, sizeof text, "%s", dane->why);
    else if (only && status == TLSA_NONE)
        snprintf(text, sizeof text, "DANE is required, but %.180s has no TLSA records", c->host);
    else if (only && status == TLSA_UNUSABLE)
        snprintf(text, sizeof text, "DANE is required, but %.180s has no usable TLSA record", c->host);
    else {
        c->demand.dane = status == TLSA_NONE ? NULL : dane;
        return true;
    }
    conn_set_trouble(c, 451, "4.7.5", text);
    report_tls_policy(c, METRICS_TLS_POLICY_DANE_FAILED);
    conn_rpt(c, status == TLSA_FAILED ? RPT_DNSSEC_INVALID : RPT_DANE_REQUIRED, text);
    return false;
}

/* Where usable TLSA records are, they alone count (RFC 8461 section 2). */
static bool dane_counts(const struct conn *c)
{
    return c->demand.dane != NULL && c->demand.dane->status == TLSA_USABLE;
}

static bool sts_target(struct conn *c)
{
    if (c->sts == NULL || c->sts->mode != STS_ENFORCE || dane_counts(c))
        return true;
    c->demand.sts = true;
    if (sts_policy_allows(c->sts, c->host))
        return true;
    char text[512];
    snprintf(text, sizeof text, "%.180s is none of the hosts that the MTA-STS policy of %.*s names", c->host,
             (int)(c->hop.domain.n < 180 ? c->hop.domain.n : 180), c->hop.domain.p);
    conn_set_trouble(c, 451, "4.7.5", text);
    report_tls_policy(c, METRICS_TLS_POLICY_STS_FAILED);
    conn_rpt(c, RPT_VALIDATION_FAILURE, "the policy does not name the host");
    return false;
}

bool conn_policy_target(struct conn *c, const struct dns_target *t)
{
    c->demand = (struct conn_demand){ 0 };
    if (c->tried == 1)
        c->lacking = 0;
    if (c->wish == ROUTE_TLS_OPTIONAL)
        return true; /* RFC 8689 section 5 */
    if (conn_policy_wants_dane(c->config, c->hop.route) &&
        !dane_target(c, c->found->dane == NULL ? NULL : &c->found->dane[t->host]))
        return false;
    return sts_target(c);
}

/* What the route or the node asks for, and the policy's entry for the site: the stricter of both; but an
 * entry may say that a site is better off without TLS, where nothing else demands it. */
static int site_tls(const struct conn *c, bool demanded)
{
    int policy = route_tls(c->config, c->hop.route);
    if (c->site_tls == SHAPING_TLS_NONE && policy == CONFIG_TLS_OPPORTUNISTIC && !demanded)
        return CONFIG_TLS_NONE;
    if (c->site_tls == SHAPING_TLS_REQUIRED &&
        (policy == CONFIG_TLS_NONE || policy == CONFIG_TLS_OPPORTUNISTIC))
        return CONFIG_TLS_REQUIRED;
    if (c->site_tls == SHAPING_TLS_OPPORTUNISTIC && policy == CONFIG_TLS_NONE)
        return CONFIG_TLS_OPPORTUNISTIC;
    return policy;
}

enum smtp_client_tls conn_policy_tls(const struct conn *c)
{
    bool demanded = c->wish == ROUTE_TLS_REQUIRED || c->demand.dane != NULL || c->demand.sts;
    int policy = site_tls(c, demanded);
    if (policy == CONFIG_TLS_NONE)
        return SMTP_CLIENT_TLS_NONE;
    if (c->port == 465 && c->hop.route != NULL)
        return SMTP_CLIENT_TLS_WRAPPED;
    if (policy != CONFIG_TLS_OPPORTUNISTIC || demanded)
        return SMTP_CLIENT_TLS_REQUIRED;
    return c->plain ? SMTP_CLIENT_TLS_NONE : SMTP_CLIENT_TLS_OPPORTUNISTIC;
}

int conn_policy_start_tls(struct conn *c)
{
    bool literal = c->host[0] == '\0' || c->host[0] == '[';
    bool verify = c->demand.sts || route_tls(c->config, c->hop.route) == CONFIG_TLS_VERIFY;
    char domain[256];
    snprintf(domain, sizeof domain, "%.*s", (int)(c->hop.domain.n < 255 ? c->hop.domain.n : 255),
             c->hop.domain.p);
    struct tls_peer peer = {
        .sni = literal ? NULL : c->host,
        .verify_name = literal ? NULL : c->host,
        .verify = verify ? TLS_VERIFY_NAME : TLS_VERIFY_NOTE,
        .session_key = span_str(c->host),
    };
    if (dane_counts(c)) {
        const struct dns_dane *dane = c->demand.dane;
        peer.verify = TLS_VERIFY_DANE;
        peer.tlsa = dane->set;
        peer.sni = dane->base;
        peer.also_names[0] = c->host;
        peer.also_names[1] = domain[0] == '\0' ? NULL : domain;
    }
    return stream_tls_client(c->stream, c->e->tls, &peer, 60000);
}

void conn_policy_ready(struct conn *c)
{
    if (c->demand.dane != NULL)
        report_tls_policy(c, dane_counts(c) ? METRICS_TLS_POLICY_DANE_OK : METRICS_TLS_POLICY_DANE_UNUSABLE);
    if (c->demand.sts)
        report_tls_policy(c, METRICS_TLS_POLICY_STS_OK);
    conn_rpt_ready(c);
}

static void lacks(struct conn *c, const char *enhanced, const char *text)
{
    conn_set_trouble(c, 550, enhanced, text);
    c->lacking++;
}

bool conn_policy_suits(struct conn *c)
{
    if (c->wish != ROUTE_TLS_REQUIRED)
        return true;
    if (!conn_policy_authenticated(c))
        lacks(c, "5.7.10", "the message needs REQUIRETLS, but this server cannot be authenticated by TLS");
    else if (!smtp_client_has_requiretls(c->client))
        lacks(c, "5.7.30", "the message needs REQUIRETLS, which this server does not offer");
    else
        return true;
    report_target_failed(c, SMTP_CLIENT_STAGE_EHLO);
    smtp_client_quit(c->client);
    return false;
}

bool conn_policy_hopeless(const struct conn *c)
{
    return c->lacking > 0 && c->lacking >= c->found->ntargets;
}

void conn_policy_failed(struct conn *c, enum smtp_client_stage stage)
{
    if (stage != SMTP_CLIENT_STAGE_TLS)
        return;
    conn_rpt_failed(c);
    if (c->demand.dane == NULL && !c->demand.sts) {
        if (c->wish == ROUTE_TLS_REQUIRED && c->client != NULL && !smtp_client_has_starttls(c->client))
            lacks(c, "5.7.10", "the message needs REQUIRETLS, but this server offers no TLS");
        return;
    }
    char said[200], text[512];
    const char *what = c->demand.dane != NULL ? "has TLSA records (DANE)" : "is named by an MTA-STS policy";
    snprintf(said, sizeof said, "%.*s", (int)c->trouble.len, c->trouble.text);
    snprintf(text, sizeof text, "%.180s %s, so nothing is sent without that TLS: %s", c->host, what, said);
    conn_set_trouble(c, 451, "4.7.5", text);
    report_tls_policy(c, c->demand.dane != NULL ? METRICS_TLS_POLICY_DANE_FAILED
                                                : METRICS_TLS_POLICY_STS_FAILED);
}

const char *conn_policy_tls_text(const struct conn *c, char out[128])
{
    const struct tls_info *info = c->stream == NULL ? NULL : stream_tls_info(c->stream);
    char text[80];
    bool optional = c->wish == ROUTE_TLS_OPTIONAL;
    if (info == NULL)
        return optional ? "none, TLS-Required: No" : "";
    snprintf(out, 128, "%s%s", tls_info_format(info, text),
             optional        ? ", TLS-Required: No"
             : c->demand.sts ? ", MTA-STS verified"
                             : "");
    return out;
}

/* The host's name came from somebody who may give it: the operator, DNSSEC, or the domain's policy. */
static bool host_is_meant(const struct conn *c)
{
    bool named = c->hop.route != NULL && c->hop.route->hop.kind == CONFIG_HOP_HOST;
    return named || c->found->mx_secure ||
           (c->sts != NULL && c->sts->mode != STS_NONE && sts_policy_allows(c->sts, c->host));
}

bool conn_policy_authenticated(const struct conn *c)
{
    const struct tls_info *info = c->stream == NULL ? NULL : stream_tls_info(c->stream);
    return info != NULL && info->verified && (info->dane_usage >= 0 || host_is_meant(c));
}
