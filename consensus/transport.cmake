turnpike_library(turnpike_transport
  SOURCES transport.c transport_accept.c transport_conn.c transport_dial.c transport_join.c transport_pump.c
          transport_tls.c
  LINK turnpike_base raft PkgConfig::libuv PkgConfig::openssl)
