/* Reverse DNS of relay clients: see client_check.h. Pure. */
#include "node/core/client_check.h"

#include <stdio.h>

bool client_check_concerns(const struct config_client_checks *c, const struct ip_addr *addr)
{
    return ip_addr_class(addr) != IP_CLASS_LOOPBACK && !ip_nets_have(c->exempt, c->nexempt, addr);
}

bool client_check_due(const struct config_client_checks *c, const struct ip_addr *addr)
{
    return c->reverse_dns && client_check_concerns(c, addr);
}

static enum client_check_result judge(const struct config_client_checks *c, const struct client_found *found)
{
    enum client_check_result unknown =
        c->defer_unknown ? CLIENT_CHECK_DEFERRED_UNKNOWN : CLIENT_CHECK_UNKNOWN;
    if (found->status != DNS_OK)
        return found->status == DNS_TEMPORARY ? unknown : CLIENT_CHECK_DEFERRED;
    if (!c->forward_confirmed || found->confirmed)
        return CLIENT_CHECK_PASSED;
    return found->confirm_status == DNS_TEMPORARY ? unknown : CLIENT_CHECK_DEFERRED;
}

void client_check_reverse_dns(const struct config_client_checks *c, const struct ip_addr *addr,
                              const struct client_found *found, const char *hostname,
                              struct client_check *out)
{
    char ip[IP_TEXT_MAX];
    out->result = judge(c, found);
    ip_addr_format(addr, ip);
    if (out->result == CLIENT_CHECK_DEFERRED) {
        snprintf(
            out->text, sizeof out->text,
            "Access temporarily denied. %s requires you to have valid reverse DNS PTR record in order to "
            "send mail from [%s]",
            c->name != NULL ? c->name : hostname, ip);
        out->reply = (struct smtp_reply){ 450, "4.7.1", out->text };
    } else if (out->result == CLIENT_CHECK_DEFERRED_UNKNOWN) {
        snprintf(out->text, sizeof out->text,
                 "The reverse DNS of [%s] cannot be looked up just now, try again later", ip);
        out->reply = (struct smtp_reply){ 451, "4.4.3", out->text };
    }
}
