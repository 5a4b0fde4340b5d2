turnpike_library(turnpike_smtp_server
  SOURCES address.c arena.c base64.c content.c param.c reply.c server.c server_auth.c server_body.c server_command.c xtext.c
  LINK turnpike_base PkgConfig::libidn2)
