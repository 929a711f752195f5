# @summary nginx with the one site that all customers' hosts lead to.
# @param upload_limit the largest request, as nginx writes sizes
class profile::web::nginx (
  String $upload_limit = '16m',
) {
  package { 'nginx-light':
    ensure          => installed,
    install_options => ['--no-install-recommends'],
  }

  -> file { '/etc/nginx/sites-enabled/default':
    ensure => absent,
    notify => Service['nginx'],
  }

  -> file { '/etc/nginx/sites-available/acme.conf':
    ensure  => file,
    mode    => '0644',
    content => epp('profile/nginx.conf.epp', { 'upload_limit' => $upload_limit }),
    notify  => Service['nginx'],
  }

  -> file { '/etc/nginx/sites-enabled/acme.conf':
    ensure => link,
    target => '../sites-available/acme.conf',
  }

  ~> service { 'nginx':
    ensure  => running,
    enable  => true,
    restart => '/bin/systemctl reload nginx.service',
  }
}
