/* What a connection is in its domain's TLS report (RFC 8460): under which policy, and how it went. The
 * worker's thread.
 */
#include "node/core/conn.h"

#include "base/clock.h"
#include "node/core/node.h"
#include "node/tlspolicy/rpt.h"

#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <string.h>

static void put_tlsa(struct buf *out, const struct tlsa_set *set)
{
    for (uint32_t i = 0; i < set->n; i++) {
        const struct tlsa_record *t = &set->records[i];
        buf_printf(out, "%s%u %u %u ", i == 0 ? "" : "\n", t->usage, t->selector, t->matching);
        for (size_t k = 0; k < t->data.n && k < 64; k++)
            buf_printf(out, "%02x", (uint8_t)t->data.p[k]);
    }
}

static void put_sts(struct buf *out, const struct sts_policy *p)
{
    buf_printf(out, "version: STSv1\nmode: %s\nmax_age: %u", sts_mode_name(p->mode), p->max_age_s);
    for (const char *mx = NULL; (mx = sts_policy_next(p, mx)) != NULL;)
        buf_printf(out, "\nmx: %s", mx);
}

void conn_rpt(const struct conn *c, enum rpt_result result, const char *reason)
{
    const struct config_route *r = c->hop.route;
    bool by_mx = r == NULL || r->hop.kind == CONFIG_HOP_MX_OF_DOMAIN || r->hop.kind == CONFIG_HOP_MX;
    struct span d = c->hop.domain;
    if (!c->config->tls_reports.send || c->wish == ROUTE_TLS_OPTIONAL || !by_mx || d.n == 0 || d.n > 253 || d.p[0] == '[')
        return;
    char domain[256], mx_ip[IP_TEXT_MAX], own_ip[IP_TEXT_MAX] = "";
    snprintf(domain, sizeof domain, "%.*s", (int)d.n, d.p);
    if (c->stream != NULL) {
        struct ip_addr local;
        stream_local(c->stream, &local, NULL);
        ip_addr_format(&local, own_ip);
    }
    struct buf text;
    buf_init(&text, RPT_POLICY_TEXT_MAX);
    const struct dns_dane *dane = c->demand.dane;
    bool tlsa = dane != NULL || result == RPT_DNSSEC_INVALID || result == RPT_DANE_REQUIRED;
    if (dane != NULL && dane->set != NULL)
        put_tlsa(&text, dane->set);
    else if (!tlsa && c->sts != NULL)
        put_sts(&text, c->sts);
    struct rpt_session s = { .domain = domain,
                             .policy = tlsa             ? RPT_TLSA
                                       : c->sts != NULL ? RPT_STS
                                                        : RPT_NO_POLICY,
                             .policy_text = buf_span(&text),
                             .result = result,
                             .sending_ip = own_ip,
                             .mx_host = c->host,
                             .mx_ip = ip_addr_format(&c->peer, mx_ip),
                             .reason = reason };
    rpt_count(c->e->w->node->rpt, clock_wall_ms(), &s);
    buf_fini(&text);
}

static bool says(const char *text, int x509_error)
{
    return strstr(text, X509_verify_cert_error_string(x509_error)) != NULL;
}

/* By the words that tls.c and OpenSSL have for it. */
static enum rpt_result certificate_result(const char *text)
{
    if (says(text, X509_V_ERR_HOSTNAME_MISMATCH))
        return RPT_CERTIFICATE_HOST_MISMATCH;
    if (says(text, X509_V_ERR_CERT_HAS_EXPIRED))
        return RPT_CERTIFICATE_EXPIRED;
    return says(text, X509_V_ERR_DANE_NO_MATCH) ? RPT_VALIDATION_FAILURE : RPT_CERTIFICATE_NOT_TRUSTED;
}

void conn_rpt_failed(const struct conn *c)
{
    const char *text = c->trouble.text;
    enum rpt_result result = strstr(text, "handshake") == NULL     ? RPT_STARTTLS_NOT_SUPPORTED
                             : strstr(text, "not trusted") != NULL ? certificate_result(text)
                                                                   : RPT_VALIDATION_FAILURE;
    conn_rpt(c, result, text);
}

void conn_rpt_ready(const struct conn *c)
{
    const struct tls_info *info = stream_tls_info(c->stream);
    if (c->plain)
        return; /* counted when its TLS failed */
    if (info == NULL)
        conn_rpt(c, RPT_STARTTLS_NOT_SUPPORTED, "");
    else if (c->demand.dane != NULL && c->demand.dane->status == TLSA_UNUSABLE)
        conn_rpt(c, RPT_TLSA_INVALID, "no usable record");
    else if (c->demand.dane == NULL && c->sts != NULL && c->sts->mode == STS_TESTING &&
             !sts_policy_allows(c->sts, c->host))
        conn_rpt(c, RPT_VALIDATION_FAILURE, "the policy does not name the host");
    else if (c->demand.dane == NULL && c->sts != NULL && c->sts->mode == STS_TESTING && !info->verified)
        conn_rpt(c, certificate_result(info->verify_error), info->verify_error);
    else
        conn_rpt(c, RPT_SUCCESS, "");
}
