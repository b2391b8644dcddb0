"""The probe: real samples run through a network, watched, to find where frozen computation ends, and to record it."""
