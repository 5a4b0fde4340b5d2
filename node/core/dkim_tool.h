/* `turnpiked --dkim VERB name=value...`: keys and their DNS records, for `turnpike dkim`. Needs no running
 * node: the process does nothing else, prints what it has to say, and exits with what this returns
 * (sysexits.h; 1: a record is not as it should be).
 *
 *     generate  domain= selector= type=rsa|ed25519 bits= out=
 *     dns       what=FILE|DOMAIN
 *     check     domain= [selector=] [key=]
 *
 * All take config= (the node's file: its keys and resolvers) and json=1.
 */
#ifndef NODE_CORE_DKIM_TOOL_H
#define NODE_CORE_DKIM_TOOL_H

int dkim_tool(int argc, char **argv);

#endif
