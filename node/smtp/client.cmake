turnpike_library(turnpike_smtp_client
  SOURCES client.c client_session.c client_transaction.c client_result.c client_capability.c client_command.c
          reply_parser.c stuff.c
  LINK turnpike_base)
