# @summary One-time codes (TOTP, RFC 6238) as the second factor of the administrators.
class profile::totp {
  $user = $facts['hallmark']['admin']['user']
  $seeds = '/var/lib/google-authenticator'

  package { 'libpam-google-authenticator':
    ensure => installed,
  }

  file { $seeds:
    ensure => directory,
    mode   => '0700',
  }

  if profile::launched() {
    # PAM notes used codes and attempts in this file: it is written once. Ten attempts in 30 s are what Hallmark
    # may need; at that rate a code is guessed in a day with a chance of one in twelve, by one who has the key.
    file { "${seeds}/${user}":
      ensure    => file,
      mode      => '0400',
      replace   => false,
      show_diff => false,
      content   => Sensitive(epp('profile/totp.epp', { 'seed' => lookup('secret::totp_seed') })),
    }

    # A file that is older than the limit gets it, too. PAM notes attempts in that line, which is left alone.
    -> file_line { 'one-time codes have a limit':
      path    => "${seeds}/${user}",
      match   => '^" RATE_LIMIT ',
      line    => '" RATE_LIMIT 10 30',
      replace => false,
    }

    # noskewadj: else three old codes in a row would set the clock that codes are held to.
    -> file_line { 'sshd asks for a one-time code and never for a password':
      path    => '/etc/pam.d/sshd',
      match   => '^(@include common-auth|auth required pam_google_authenticator\.so .*)$',
      line    => "auth required pam_google_authenticator.so secret=${seeds}/\${USER} user=root noskewadj",
      require => Package['libpam-google-authenticator'],
      before  => Class['profile::sshd'],
    }
  }
}
