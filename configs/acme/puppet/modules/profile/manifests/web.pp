# @summary A web server: nginx in front of PHP, and the sites.
class profile::web {
  contain profile::web::php
  contain profile::web::nginx
  contain profile::web::site

  # Debian's wordpress wants a web server and PHP, and takes Apache if there is neither.
  Class['profile::web::php'] -> Class['profile::web::nginx'] -> Class['profile::web::site']
}
